"""Volume -> a derived DICOM series: new series and instances of the same study and frame of reference.

Always classic objects, one file for each slice, 16 bits signed, explicit little endian; an enhanced multi-frame
source becomes a classic series too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom.uid import generate_uid

from medley.errors import MedleyError
from medley.geometry.orientation import check_square
from medley.io.dicom.frames import finders
from medley.io.dicom.headers import read_header, reading
from medley.io.dicom.image import CLASSES, Origin, Plan, derived_image
from medley.io.dicom.read import DicomSource
from medley.io.writing import Append
from medley.runtime.atomic import replacing
from medley.runtime.guard import without_warnings
from medley.volume import Volume

# Slices are the source's own where they lie within this of them.
_SAME_MM = 1e-3


@contextmanager
def dicom_writer(
    volume: Volume,
    folder: Path,
    *,
    derivation: str = "",
    mark: str = "medley",
    overwrite: bool = False,
    mode: int = 0o777,
) -> Iterator[Append]:
    """Write a volume that was read from DICOM to a folder of IM-0001.dcm ..., completely or not at all.

    The given function is to be called with each slice.

    Values go back to the unit of the source (PET: Bq/ml where it had that); every value is right to half a stored
    unit. Where slice, row or column distances changed, the geometry follows `volume.affine`.

    Raises
    ------
    MedleyError: the volume came from no DICOM series of CT, MR or PT; names may be burned into its pixels; the folder
        exists (with `overwrite`: holds more than such a series); it cannot be written.
    """
    source = volume.source
    if not isinstance(source, DicomSource) or volume.modality not in CLASSES:
        raise MedleyError(
            f"{folder}: a DICOM series needs a CT, MR or PT scan that was read from DICOM; write .nii.gz instead"
        )
    check_square(volume.affine, folder)
    _check_replaceable(folder, source)
    same = _same_depth(volume, source)
    plan = Plan(volume, source, same, generate_uid(prefix=None), derivation, mark, datetime.now())
    with replacing(folder, folder=True, overwrite=overwrite, mode=mode) as temporary:
        temporary.mkdir()
        origins = enumerate(_origins(plan))

        def append(values: np.ndarray) -> None:
            k, origin = next(origins)
            with reading(origin.frame.path):
                image = derived_image(plan, k, values, origin)
            with without_warnings():
                image.save_as(temporary / f"IM-{k + 1:04d}.dcm", enforce_file_format=True)

        yield append


def _check_replaceable(folder: Path, source: DicomSource) -> None:
    """Only a series that medley wrote may be overwritten, and never the one the slices still come from."""
    if not folder.is_dir():
        return
    if any(frame.path.resolve().is_relative_to(folder.resolve()) for frame in source.frames):
        raise MedleyError(f"{folder}: holds the series this scan was read from; write to another folder")
    for file in folder.iterdir():
        if not (file.name.startswith("IM-") and file.suffix == ".dcm"):
            raise MedleyError(f"{folder}: holds {file.name}, which medley did not write; choose another folder")


def _same_depth(volume: Volume, source: DicomSource) -> bool:
    if volume.shape[0] != len(source.frames):
        return False
    normal = source.affine[:3, 0] / np.linalg.norm(source.affine[:3, 0])
    shift = volume.affine - source.affine
    step, origin = shift[:3, 0] * len(source.frames), shift[:3, 3]
    return float(np.abs([*step, normal @ origin]).max()) < _SAME_MM


def _origins(plan: Plan) -> Iterator[Origin]:
    """For each slice of the volume the nearest slice of the source."""
    frames = plan.source.frames
    indices = np.zeros((4, plan.volume.shape[0]))
    indices[0], indices[3] = np.arange(plan.volume.shape[0]), 1
    heights = (np.linalg.inv(plan.source.affine) @ plan.volume.affine @ indices)[0]
    path: Path | None = None
    for nearest in np.rint(heights).clip(0, len(frames) - 1).astype(int):
        frame = frames[nearest]
        if frame.path != path:
            path, header = frame.path, read_header(frame.path)
            if header.get("BurnedInAnnotation") == "YES":
                raise MedleyError(
                    f"{path}: BurnedInAnnotation is YES, so names may stand in the picture; medley does not pass them "
                    "on: write .nii.gz, or remove the annotation first"
                )
            with reading(path):
                header.decode()  # texts of any character set become plain strings
            finds = list(finders(header))
        yield Origin(frame, header, finds[frame.index])
