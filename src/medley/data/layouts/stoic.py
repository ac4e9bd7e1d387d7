"""Layout "stoic": chest CT with the outcome of COVID-19, as published by the STOIC challenge.

Revel et al., "Study of Thoracic CT in COVID-19: The STOIC Project", Radiology 301, 2021; Boulogne et al., "The
STOIC2021 COVID-19 AI challenge", Medical Image Analysis 97, 2024.

    data/mha/ID.mha          the scans (also directly in SOURCE, or in SOURCE/mha)
    metadata/reference.csv   PatientID, probCOVID and probSevere, each 0 or 1 (also directly in SOURCE)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from medley.data.layouts.study import RecordData, RecordSource, split_by_name
from medley.data.layouts.tables import read_rows
from medley.errors import MedleyError
from medley.geometry.body import AIR, lay_along_patient, whole_spacing
from medley.io.files import read
from medley.io.sitk import read_grid
from medley.targets import Target
from medley.tasks import Task

FOLDERS = ("data/mha", "mha", ".")
TABLES = ("metadata/reference.csv", "reference.csv")
SIZE = 64
HU_LIMITS = -1024, 3071  # of a 12-bit scanner; some files have lower values outside the field of view
DIAGNOSES = ("negative", "COVID")
SEVERITIES = ("not severe", "severe")  # severe: intubation or death within a month


def records(source: Path, *, table: Path | None = None, size: int | None = None) -> tuple[Task, list[RecordSource]]:
    """The scans below `source`, and their task; split by name, since the data set states no split.

    Severity is only known for people with COVID-19.

    Parameters
    ----------
    table: the reference CSV; None takes the first of `TABLES` in `source`.
    size: voxels along each axis; the whole scan is resized to a cube. None is 64.

    Raises
    ------
    MedleyError: no scan, no reference CSV, or a row of it without a scan.
    """
    folder = next((source / name for name in FOLDERS if any((source / name).glob("*.mha"))), None)
    if folder is None:
        raise MedleyError(f"{source} holds no .mha scan; expected data/mha/ID.mha below it")
    table = table or next((source / name for name in TABLES if (source / name).is_file()), None)
    if table is None:
        raise MedleyError(f"{source} holds no reference.csv; expected it there or in metadata, or give a table")
    rows = read_rows(table, "PatientID", ("probCOVID", "probSevere"))
    scans = {path.stem: path for path in sorted(folder.glob("*.mha"))}
    if unknown := next((name for name in rows if name not in scans), None):
        raise MedleyError(f"{table} names the patient {unknown}, but there is no {folder / unknown}.mha")
    found = [
        RecordSource(
            id=name,
            source=path.relative_to(source).as_posix(),
            subject=name,
            split=split_by_name(name),
            read=partial(_read, path, _labels(rows.get(name, {}), table), size or SIZE),
        )
        for name, path in scans.items()
    ]
    return _task(size or SIZE, _median_spacing(found, scans, size or SIZE)), found


def _labels(row: Mapping[str, str], table: Path) -> dict[str, str]:
    if not row:
        return {}
    covid, severe = (_yes(row, name, table) for name in ("probCOVID", "probSevere"))
    labels = {"diagnosis": DIAGNOSES[covid]}
    return {**labels, "severity": SEVERITIES[severe]} if covid else labels


def _yes(row: Mapping[str, str], column: str, table: Path) -> bool:
    try:
        return bool({0.0: 0, 1.0: 1}[float(row[column])])
    except (ValueError, KeyError):
        raise MedleyError(
            f"{table}: {column} of {row['PatientID']:.40} is {row[column]!r:.40}, expected 0 or 1"
        ) from None


def _read(path: Path, labels: Mapping[str, str], size: int) -> RecordData:
    volume = read(path, modality="CT")
    spacing = _spacing(path, size)
    hu, *_ = lay_along_patient(volume, spacing, AIR)
    return RecordData({"input": np.rint(hu.clip(*HU_LIMITS))[None].astype(np.int16)}, spacing, labels=labels)


def _spacing(path: Path, size: int) -> tuple[float, ...]:
    """mm along (slice, row, column) of the cube."""
    return whole_spacing(*read_grid(path), (size, size, size))


def _median_spacing(found: Sequence[RecordSource], paths: Mapping[str, Path], size: int) -> tuple[float, ...]:
    known = []
    for one in [one for one in found if one.split == "train"] or found:
        with suppress(MedleyError):  # reading that record reports the error, unless it is excluded
            known.append(_spacing(paths[one.id], size))
    return tuple(round(float(mm), 3) for mm in np.median(known, axis=0)) if known else ()


def _task(size: int, spacing: tuple[float, ...]) -> Task:
    return Task(
        name="stoic",
        title="Chest CT: COVID-19 and its severity",
        modality="CT",
        channels=("CT",),
        range=(-1000, 400),  # air to contrast medium in vessels; bone is irrelevant for the lungs
        unit="HU",
        grid=(size, size, size),
        spacing=spacing,
        framing="whole",
        flips=(2,),
        targets=(
            Target(name="diagnosis", kind="classes", names=DIAGNOSES),
            Target(name="severity", kind="classes", names=SEVERITIES),
        ),
    )
