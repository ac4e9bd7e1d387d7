"""Layout "folder": scans anywhere below one folder, with or without a table that says whose they are.

With a table (a CSV beside the scans, by default `sources.csv` or `subjects.csv`) every row names one scan: `file`
(relative path) and `subject` are required, `split` and `modality` optional. Without one, a scan is its own subject,
and a folder on its path called train, valid or test gives its split, one called ct, mr, mri, pet or pt its modality.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from medley.data.layouts.study import SPLITS, Study, split_by_name
from medley.errors import MedleyError
from medley.io.files import Scan, find_scans

MODALITIES = {"ct": "CT", "mr": "MR", "mri": "MR", "pet": "PT", "pt": "PT"}
TABLES = ("sources.csv", "subjects.csv")


def studies(source: Path, table: Path | None = None, valid_fraction: float = 0.2) -> Iterator[Study]:
    """The scans below `source`.

    Parameters
    ----------
    source: the folder.
    table: CSV that names the scans; None takes `sources.csv` or `subjects.csv` of the folder, if there is one.
    valid_fraction: share of the subjects that go to "valid" where nothing gives a split. A subject's split depends on
        its name alone: it stays the same when others come or go.

    Raises
    ------
    MedleyError: no folder, a table without the columns, or one that names a file that is not there.
    """
    if not source.is_dir():
        raise MedleyError(f"{source} is not a folder; give the folder that holds the scans")
    table = table or next((source / name for name in TABLES if (source / name).exists()), None)
    rows = _rows_of_table(table, source) if table else _rows_of_folder(source)
    for scan, row in rows:
        parts = [part.lower() for part in Path(row["file"]).parts[:-1]]
        modality = row.get("modality") or next((part for part in parts if part in MODALITIES), "")
        split = row.get("split") or next((part for part in parts if part in SPLITS), "")
        if split and split.lower() not in SPLITS:
            raise MedleyError(f"{table}: {row['file']} is in split {split!r}, expected one of {', '.join(SPLITS)}")
        yield Study(
            scan=scan,
            source=row["file"],
            subject=row["subject"],
            split=SPLITS[split.lower()] if split else split_by_name(row["subject"], valid_fraction),
            modality=MODALITIES.get(modality.lower(), modality.upper()),
        )


def _rows_of_table(table: Path, source: Path) -> Iterator[tuple[Scan, dict[str, str]]]:
    with table.open(newline="") as file:
        reader = csv.DictReader(file)
        if missing := {"file", "subject"} - set(reader.fieldnames or ()):
            raise MedleyError(
                f"{table} has no column {' and no column '.join(sorted(missing))}; add it, one row a scan"
            )
        for row in reader:
            if not (source / row["file"]).exists():
                raise MedleyError(f"{table}, line {reader.line_num}: there is no {source / row['file']}")
            yield Scan(source / row["file"]), row


def _rows_of_folder(source: Path) -> Iterator[tuple[Scan, dict[str, str]]]:
    for scan in find_scans(source):
        relative = scan.path.relative_to(source).as_posix()
        yield scan, {"file": relative, "subject": scan.name}
