"""Layout "folder": scans anywhere below one folder, with or without a table of subjects.

With a table (a CSV beside the scans, by default `sources.csv` or `subjects.csv`) every row names one scan: `file`
(relative path) and `subject` are required, `split` and `modality` are optional. Without a table, the PatientID is the
subject of a DICOM series, and every other scan is a subject of its own; a folder in its path named train, valid or test
gives the split, one named like a modality (ct, mri, pet, x-ray, ...: `medley.data.pairing.task_called`) the modality.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medley.data.layouts.study import Study, split_of
from medley.data.layouts.tables import read_table
from medley.data.pairing import task_called
from medley.errors import MedleyError
from medley.io.files import Scan, find_scans

TABLES = ("sources.csv", "subjects.csv")


def studies(source: Path, table: Path | None = None, valid_fraction: float = 0.2) -> Iterator[Study]:
    """The scans below `source`.

    Parameters
    ----------
    source: the folder.
    table: CSV that names the scans; None takes `sources.csv` or `subjects.csv` of the folder, if there is one.
    valid_fraction: share of the subjects in "valid" if nothing gives a split. The split of a subject depends only on
        its name, so it does not change when subjects are added or removed.

    Raises
    ------
    MedleyError: there is no such folder, the table cannot be read or lacks a column, or a file in it does not exist.
    """
    if not source.is_dir():
        raise MedleyError(f"{source} is not a folder; give the folder that holds the scans")
    table = table or table_of(source)
    for scan, row in rows_of_table(table, source) if table else _rows_of_folder(source):
        yield study(scan, row, str(table), valid_fraction=valid_fraction)


def table_of(source: Path) -> Path | None:
    """The table in a folder of scans, or None."""
    return next((source / name for name in TABLES if (source / name).exists()), None)


def study(scan: Scan, row: dict[str, str], table: str, *, place: str = "", valid_fraction: float = 0.2) -> Study:
    """A scan with its subject, and the split and the modality of its row, else of the folders in its path.

    Parameters
    ----------
    row: file and subject, and optionally split and modality. table: its name in messages.
    place: name of the data set's folder, which gives the modality where nothing else does.

    Raises
    ------
    MedleyError: the row has an unknown split.
    """
    parts = Path(row["file"]).parts[:-1]
    where, stated_split = f"{table}: {row['file']}", row.get("split", "")
    stated = row.get("modality", "")
    task = next((task for name in ([stated] if stated else [*parts, place]) if (task := task_called(name))), None)
    return Study(
        scan=scan,
        source=row["file"],
        subject=row["subject"],
        split=split_of(row["subject"], parts, where, stated=stated_split, valid_fraction=valid_fraction),
        modality=task.modality if task else stated.upper(),
        task=task.name if task else "",
    )


def rows_of_table(table: Path, source: Path) -> Iterator[tuple[Scan, dict[str, str]]]:
    """The scans that a table names, with their rows.

    Raises
    ------
    MedleyError: it cannot be read, lacks a column, or names a file twice or one that does not exist.
    """
    lines: dict[Path, int] = {}
    for row in read_table(table, ("file", "subject"), each="scan"):
        for column in ("file", "subject"):
            if not row.cells[column]:
                raise MedleyError(f"{table}, line {row.line}: {column} is empty; fill it in or remove the line")
        if not (source / row.cells["file"]).exists():
            raise MedleyError(f"{table}, line {row.line}: there is no {source / row.cells['file']}")
        path = (source / row.cells["file"]).resolve()
        if path in lines:
            raise MedleyError(
                f"{table}, line {row.line}: {row.cells['file']} is already listed in line {lines[path]}; a scan "
                f"belongs to one subject, so remove one of the lines"
            )
        lines[path] = row.line
        yield Scan(source / row.cells["file"]), row.cells


def _rows_of_folder(source: Path) -> Iterator[tuple[Scan, dict[str, str]]]:
    for scan in find_scans(source):
        relative = scan.path.relative_to(source).as_posix()
        patient = scan.series.patient if scan.series else ""
        yield scan, {"file": relative, "subject": patient or scan.name}
