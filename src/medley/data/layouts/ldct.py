"""Layout "ldct": LDCT-and-Projection-data of The Cancer Imaging Archive, pairs of full and reduced dose.

SOURCE/PATIENT/STUDY/SERIES/*.dcm as the archive's downloader writes it: for each patient one series called "Full Dose
Images" and one called "Low Dose Images" (a quarter of the dose for heads and abdomens, a tenth for chests). The series
are recognised by their SeriesDescription, so folders may have any names; projections are ignored. Slices of the two
series are paired by their position; those of which the other series has none are left out.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from medley.data.layouts.study import RecordData, RecordSource, split_by_name
from medley.data.pairing import CLOSE, check_same_grid, record_of
from medley.errors import MedleyError
from medley.io.dicom.headers import looks_like_dicom, read_header, reading
from medley.io.dicom.read import open_series
from medley.runtime.limits import check_memory
from medley.tasks import TASKS
from medley.volume import Volume

TASK = "ct-denoise"
_FULL = re.compile(r"\bfull[ _-]*dose[ _-]*images?\b", re.IGNORECASE)
_LOW = re.compile(r"\b(low|quarter)[ _-]*dose[ _-]*images?\b", re.IGNORECASE)
_TAGS = ["PatientID", "SeriesInstanceUID", "SeriesDescription", "Modality"]

Files = dict[str, list[Path]]  # SeriesInstanceUID -> files


def records(source: Path, *, table: Path | None = None) -> list[RecordSource]:
    """The patients below `source`.

    Raises
    ------
    MedleyError: there is no such folder, or it holds no such series; a series without PatientID; a table, which the
        data set does not need.
    """
    if table is not None:
        raise MedleyError(f"{table}: the layout ldct takes patients from the headers of files; remove the table")
    if not source.is_dir():
        raise MedleyError(f"{source} is not a folder; give the folder LDCT-and-Projection-data")
    patients = _patients(source)
    if not patients:
        raise MedleyError(
            f'{source} holds no CT series called "Full Dose Images" or "Low Dose Images"; expected the DICOM tree of '
            "LDCT-and-Projection-data"
        )
    return [
        RecordSource(
            id=re.sub(r"[^\w.-]+", "-", patient, flags=re.ASCII),
            source=patient,
            subject=patient,
            split=split_by_name(patient),
            read=partial(_read, patient, low, full),
        )
        for patient, (low, full) in sorted(patients.items())
    ]


def common_slices(low: Volume, high: Volume, low_name: object, high_name: object) -> tuple[Volume, Volume]:
    """The slices of two scans that have the same position.

    Raises
    ------
    MedleyError: the slices differ in spacing or lie between each other, or the two scans share none.
    """
    step = high.affine[:3, 0]
    offset = float((high.affine[:3, 3] - low.affine[:3, 3]) @ step / (step @ step))  # slices from low's first to high's
    start = round(offset)
    if abs(offset - start) > CLOSE or not np.allclose(low.spacing, high.spacing, rtol=1e-3):
        check_same_grid(low, high, low_name, high_name)
    first, last = max(0, start), min(low.shape[0], start + high.shape[0])
    if last <= first:
        raise MedleyError(f"{low_name} and {high_name} have no slice at the same position; leave the patient out")
    parts = _part(low, first, last), _part(high, first - start, last - start)
    check_same_grid(*parts, low_name, high_name)
    return parts


def _part(volume: Volume, first: int, last: int) -> Volume:
    """The slices from `first` to before `last`."""
    affine = volume.affine.copy()
    affine[:3, 3] += first * affine[:3, 0]
    return Volume(np.asarray(volume.data)[first:last], affine, volume.modality, volume.unit)


def _patients(source: Path) -> dict[str, tuple[Files, Files]]:
    """{PatientID: series of low and of full dose}; the header of one file stands for its folder."""
    found: dict[str, tuple[Files, Files]] = {}
    for folder in sorted({source, *(one for one in source.rglob("*") if one.is_dir())}):
        files = sorted(one for one in folder.iterdir() if one.is_file() and not one.name.startswith("."))
        files = [one for one in files if looks_like_dicom(one)]
        if not files:
            continue
        header = read_header(files[0], tags=_TAGS)
        with reading(files[0]):
            text, patient = str(header.get("SeriesDescription") or ""), str(header.get("PatientID") or "")
            uid = str(header.get("SeriesInstanceUID") or "")
        doses = [bool(_LOW.search(text)), bool(_FULL.search(text))]
        if not any(doses):
            continue
        if not patient:
            raise MedleyError(f"{files[0]}: has no PatientID, so its patient is unknown")
        found.setdefault(patient, ({}, {}))[doses.index(True)].setdefault(uid, []).extend(files)
    return found


def _read(patient: str, low: Files, full: Files) -> RecordData:
    volumes, names = [], []
    for series, what in ((low, "Low Dose Images"), (full, "Full Dose Images")):
        if len(series) != 1:
            raise MedleyError(
                f"{patient}: has {len(series)} series called {what!r}, expected one; complete it, or leave it out with "
                "--exclude"
            )
        (files,) = series.values()
        volume = open_series(files, files[0].parent)
        check_memory(files[0].parent, 4 * int(np.prod(volume.shape)))
        volumes.append(volume)
        names.append(files[0].parent)
    return record_of(*common_slices(volumes[0], volumes[1], *names), TASKS[TASK], names[0])
