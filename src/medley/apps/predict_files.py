"""The files of a prediction: NIfTI or PNG for everybody, RTDOSE and SEG where the scan came from DICOM."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from medley.errors import MedleyError
from medley.inference.predictor import Prediction
from medley.io.dicom.dose import write_dose
from medley.io.dicom.read import DicomSource
from medley.io.dicom.segmentation import write_segmentation
from medley.io.nifti import write_nifti
from medley.runtime.atomic import one_line
from medley.volume import Slices, Volume

PHOTOGRAPHS = (".jpg", ".jpeg", ".png")
DOSE_MM = 2.5  # the rows and columns of an RTDOSE lie at most so far apart, where the scan allows


def write_answers(prediction: Prediction, folder: Path, model: str, form: str | None) -> tuple[list[str], list[str]]:
    """Write a prediction's maps and masks into a folder: TARGET.nii.gz, TARGET/STRUCTURE.nii.gz (PNG for photographs),
    TARGET.dcm.

    Parameters
    ----------
    model: its name, for the files. form: "nifti" or "dicom" alone; None for NIfTI, and DICOM where that can be made.

    Returns
    -------
    The names of the files in the folder, and sentences about DICOM files that could not be made.

    Raises
    ------
    MedleyError: a file cannot be written; `form` is "dicom" and DICOM files cannot be made.
    """
    scan = prediction.scan
    missed: list[str] = []
    if not isinstance(scan, Volume):
        written = list(_photograph_files(prediction, folder))
    else:
        written = [] if form == "dicom" else list(_nifti_files(prediction, scan, folder, model))
        if form == "dicom" or (form is None and isinstance(scan.source, DicomSource)):
            files, missed = _dicom_files(prediction, scan, folder, model)
            written += files
        if form == "dicom" and missed:
            raise MedleyError(missed[0])
    return [path.relative_to(folder).as_posix() for path in written], missed


def read_photograph(path: Path) -> np.ndarray:
    """A colour photograph as (row, column, 3) uint8, the way up its camera noted.

    Raises
    ------
    MedleyError: not a picture, broken, or grey.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("RGB", "RGBA", "P", "CMYK", "YCbCr"):
                raise MedleyError(f"{path}: is a grey picture ({image.mode}); expected a colour photograph")
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError as error:
        raise MedleyError(f"{path}: does not exist") from error
    except UnidentifiedImageError as error:
        raise MedleyError(f"{path}: is no picture; expected a photograph, {', '.join(PHOTOGRAPHS)}") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MedleyError(f"{path}: cannot be read as a picture ({one_line(error)}); copy the file again") from error


def _photograph_files(prediction: Prediction, folder: Path) -> Iterator[Path]:
    for target, masks in prediction.masks.items():
        for name, mask in masks.items():
            path = folder / target / f"{_plain(name)}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path, optimize=True)
            yield path


def _nifti_files(prediction: Prediction, scan: Volume, folder: Path, model: str) -> Iterator[Path]:
    for target, values in prediction.maps.items():
        yield write_nifti(values, folder / f"{target}.nii.gz", derivation=f"{model} {target}")
    for target, masks in prediction.masks.items():
        for name, mask in masks.items():
            slices = Slices(scan.shape, lambda mask=mask: (one.astype(np.float32) for one in mask))  # type: ignore[misc]
            labels = scan.with_data(slices, modality="SEG", unit="")
            path = folder / target / f"{_plain(name)}.nii.gz"
            yield write_nifti(labels, path, derivation=f"{model} {name}", dtype="uint8")


def _dicom_files(prediction: Prediction, scan: Volume, folder: Path, model: str) -> tuple[list[Path], list[str]]:
    """Those that can be made, and why others cannot."""
    tasks: list[tuple[Any, Any, str, dict[str, Any]]] = [
        *((write_dose, _thinned(dose), target, {}) for target, dose in prediction.maps.items() if dose.unit == "Gy"),
        *((write_segmentation, masks, target, {"model": model}) for target, masks in prediction.masks.items()),
    ]
    written, missed = [], []
    for write, what, target, more in tasks:
        try:
            path = folder / f"{target}.dcm"
            written.append(write(what, path, reference=scan, description=f"{target} by {model}", **more))
        except MedleyError as error:
            missed.append(f"no {target}.dcm: {str(error).removeprefix(f'{path}: ')}")
    return written, missed


def _thinned(dose: Volume) -> Volume:
    """Only so many rows and columns as lie within `DOSE_MM`: a network's dose has no finer detail."""
    every = [1, *(max(1, int(DOSE_MM / mm)) for mm in dose.spacing[1:])]
    data = np.asarray(dose.data)[:, :: every[1], :: every[2]]
    return dose.with_data(np.ascontiguousarray(data), affine=dose.affine @ np.diag([*every, 1]))


def _plain(name: str) -> str:
    """A name of a structure as that of a file."""
    return re.sub(r"[^\w.+-]+", "_", name)
