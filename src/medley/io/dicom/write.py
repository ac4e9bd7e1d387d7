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
from medley.io.dicom.headers import reading
from medley.io.dicom.image import CLASSES, DerivedSeries, Origin, derived_image
from medley.io.dicom.provenance import NO_NETWORK, Algorithm
from medley.io.dicom.read import DicomSource
from medley.io.dicom.references import decoded_header, header_of
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
    algorithm: Algorithm = NO_NETWORK,
    overwrite: bool = False,
    mode: int = 0o777,
) -> Iterator[Append]:
    """Write a volume that was read from DICOM to a folder of IM-0001.dcm ..., completely or not at all.

    Gives a function to call with each slice in order. The parameters are those of `medley.io.files.open_writer`.

    Values are stored in the unit of the source (PET: Bq/ml if it had that), each exact to half a stored unit. Where
    the distances of slices, rows or columns changed, the geometry follows `volume.affine`. Slices keep the
    InstanceNumber of the source.

    Raises
    ------
    MedleyError: the volume was not read from a DICOM series, or that series lacks a UID; names may be
        burned into its pixels; the folder exists (with `overwrite`: holds more than such a series); it cannot be
        written.
    """
    source = volume.source
    if not isinstance(source, DicomSource) or volume.modality not in CLASSES:
        raise MedleyError(
            f"{folder}: a DICOM series needs a scan of {', '.join(CLASSES)} that was read from DICOM; write "
            ".nii.gz instead"
        )
    check_square(volume.affine, folder)
    header_of(volume, folder)
    _check_replaceable(folder, source)
    same = _same_depth(volume, source)
    numbers = tuple(_numbers(source, volume.shape[0], same))
    uid = generate_uid(prefix=None)
    series = DerivedSeries(volume, source, same, uid, derivation, mark, algorithm, datetime.now(), numbers)
    with replacing(folder, folder=True, overwrite=overwrite, mode=mode) as temporary:
        temporary.mkdir()
        origins = enumerate(_origins(series))

        def append(values: np.ndarray) -> None:
            k, origin = next(origins)
            with reading(origin.frame.path):
                image = derived_image(series, k, values, origin)
            with without_warnings():
                image.save_as(temporary / f"IM-{k + 1:04d}.dcm", enforce_file_format=True)

        yield append


def _check_replaceable(folder: Path, source: DicomSource) -> None:
    """Only a series that medley wrote may be overwritten, and never the one that the slices are read from."""
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


def _numbers(source: DicomSource, count: int, same: bool) -> list[int]:
    """InstanceNumber of each slice: that of the source's slice, or 1, 2, ... in the same direction as the source's."""
    whole = len(source.paths) == len(source.frames)
    found = [frame.number if whole else frame.index + 1 for frame in source.frames]
    numbers = [number for number in found if number is not None]
    if len(set(numbers)) != len(source.frames):
        return list(range(1, count + 1))
    if same:
        return numbers
    ascending = list(range(1, count + 1))
    return ascending if numbers[-1] >= numbers[0] else ascending[::-1]


def _origins(series: DerivedSeries) -> Iterator[Origin]:
    """For each slice of the volume the nearest slice of the source."""
    frames = series.source.frames
    indices = np.zeros((4, series.volume.shape[0]))
    indices[0], indices[3] = np.arange(series.volume.shape[0]), 1
    heights = (np.linalg.inv(series.source.affine) @ series.volume.affine @ indices)[0]
    path: Path | None = None
    for nearest in np.rint(heights).clip(0, len(frames) - 1).astype(int):
        frame = frames[nearest]
        if frame.path != path:
            path, header = frame.path, decoded_header(frame.path)
            if header.get("BurnedInAnnotation") == "YES":
                raise MedleyError(
                    f"{path}: BurnedInAnnotation is YES, so names may be visible in the picture, and medley does not "
                    "copy them: write .nii.gz, or remove the annotation first"
                )
            finds = list(finders(header))
        yield Origin(frame, header, finds[frame.index])
