"""The files of a prediction: NIfTI or PNG, and RTDOSE, SEG and RTSTRUCT if the scan is DICOM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medley import __version__
from medley.errors import MedleyError
from medley.inference.predictor import Prediction
from medley.io.dicom.dose import write_dose
from medley.io.dicom.provenance import MAKER, Algorithm
from medley.io.dicom.read import DicomSource
from medley.io.dicom.segmentation import write_segmentation
from medley.io.dicom.structures_write import write_structures
from medley.io.nifti import write_nifti
from medley.runtime.names import safe_name
from medley.volume import Slices, Volume

DOSE_MM = 2.5  # the largest distance of the rows and columns of an RTDOSE, if those of the scan are not larger


def write_answers(
    prediction: Prediction, folder: Path, algorithm: Algorithm, form: str | None, structures: Path | None = None
) -> tuple[list[str], list[str]]:
    """Write the maps and masks of a prediction into a folder.

    TARGET.nii.gz for a map and TARGET/STRUCTURE.nii.gz for masks (PNG for photographs); for a DICOM scan TARGET.dcm,
    an RTDOSE or a SEG, and for masks also TARGET-rtstruct.dcm.

    Parameters
    ----------
    algorithm: the network, for the files.
    form: "nifti" or "dicom" for only one; None for NIfTI and, if possible, DICOM.
    structures: the RTSTRUCT file that was given with the scan, to which an RTDOSE refers.

    Returns
    -------
    The names of the files in the folder, and sentences about DICOM files that could not be written.

    Raises
    ------
    MedleyError: a file cannot be written; `form` is "dicom" and no DICOM file can be written.
    """
    scan = prediction.scan
    missed: list[str] = []
    model = f"{MAKER} {__version__} {algorithm.name}"
    if not isinstance(scan, Volume):
        written = list(_photograph_files(prediction, folder))
    else:
        written = [] if form == "dicom" else list(_nifti_files(prediction, scan, folder, model))
        if form == "dicom" or (form is None and isinstance(scan.source, DicomSource)):
            files, missed = _dicom_files(prediction, scan, folder, model, algorithm, structures)
            written += files
            if form == "dicom" and missed:
                raise MedleyError(missed[0])
            missed += [f"no {target}.dcm: the network found none of the structures" for target in _empty(prediction)]
    return [path.relative_to(folder).as_posix() for path in written], missed


def _photograph_files(prediction: Prediction, folder: Path) -> Iterator[Path]:
    for target, masks in prediction.masks.items():
        for name, mask in masks.items():
            path = folder / target / f"{safe_name(name)}.png"
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
            path = folder / target / f"{safe_name(name)}.nii.gz"
            yield write_nifti(labels, path, derivation=f"{model} {name}", dtype="uint8")


def _dicom_files(
    prediction: Prediction, scan: Volume, folder: Path, model: str, algorithm: Algorithm, structures: Path | None
) -> tuple[list[Path], list[str]]:
    """The files that can be written, and why others cannot."""
    jobs: list[tuple[str, str, Any, Any, dict[str, Any]]] = [
        *(
            (f"{target}.dcm", target, write_dose, _thinned(dose), {"structures": structures})
            for target, dose in prediction.maps.items()
            if dose.unit == "Gy"
        ),
        *(
            (f"{target}{suffix}.dcm", target, write, masks, {})
            for target, masks in prediction.masks.items()
            if target not in _empty(prediction)
            for suffix, write in (("", write_segmentation), ("-rtstruct", write_structures))
        ),
    ]
    written, missed = [], []
    for name, target, write, content, more in jobs:
        path = folder / name
        used = replace(algorithm, task=target)
        try:
            written.append(write(content, path, reference=scan, description=target, mark=model, algorithm=used, **more))
        except MedleyError as error:
            missed.append(f"no {name}: {str(error).removeprefix(f'{path}: ')}")
    return written, missed


def _empty(prediction: Prediction) -> list[str]:
    """The targets of which no structure has a voxel."""
    return [name for name, masks in prediction.masks.items() if not any(mask.any() for mask in masks.values())]


def _thinned(dose: Volume) -> Volume:
    """The dose with rows and columns left out so that they are at most `DOSE_MM` apart; it has no finer detail."""
    every = [1, *(max(1, int(DOSE_MM / mm)) for mm in dose.spacing[1:])]
    data = np.asarray(dose.data)[:, :: every[1], :: every[2]]
    return dose.with_data(np.ascontiguousarray(data), affine=dose.affine @ np.diag([*every, 1]))
