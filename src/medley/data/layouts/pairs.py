"""Layout "pairs": measured pairs of a low- and a high-quality image, without any simulation.

Two parallel folders, SOURCE/input and SOURCE/target, whose files (or folders with a DICOM series) have the same
relative names without suffix; or a table (`pairs.csv` in SOURCE) with the columns input, target, subject, and
optionally split and task. Without a table every pair is a subject of its own, and folders in its path may
name the split and the task.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from medley.data.layouts.study import RecordSource, split_of
from medley.data.layouts.tables import read_table
from medley.data.pairing import PLAIN, checked_task, read_pair, task_called
from medley.errors import MedleyError
from medley.io.files import Scan, find_scans
from medley.tasks import Task

TABLE = "pairs.csv"
LOW, HIGH = "input", "target"


def records(source: Path, *, table: Path | None = None) -> list[RecordSource]:
    """The pairs below `source`.

    Parameters
    ----------
    source: the folder. table: CSV that names the pairs; None takes `pairs.csv` of the folder, if there is one.

    Raises
    ------
    MedleyError: there is neither a table nor the two folders; an image without a partner; a line of the table names a
        file that does not exist, an unknown split or task, or a file that another line names.
    """
    if not source.is_dir():
        raise MedleyError(f"{source} is not a folder; give the folder that holds the pairs")
    table = table or (source / TABLE if (source / TABLE).exists() else None)
    return list(_of_table(table, source) if table else _of_folders(source))


def record_source(
    low: Scan, high: Scan, task: Task | None, *, source: str, name: str, subject: str, split: str
) -> RecordSource:
    """The record of a pair; `name` becomes its id, reduced to letters, digits, ".", "_" and "-"."""
    return RecordSource(
        id=re.sub(r"[^\w.-]+", "-", name),
        source=source,
        subject=subject,
        split=split,
        read=partial(read_pair, low, high, task),
    )


def named_scans(folder: Path, suffixes: tuple[str, ...] = PLAIN) -> dict[str, Scan]:
    """All scans, pictures and pickled arrays below a folder, by their relative path without suffix.

    A DICOM series directly in the folder is called "series".
    """
    found: dict[str, Scan] = {}
    files = sorted(one for one in folder.rglob("*") if one.is_file() and not one.name.startswith("."))
    plain = [one for one in files if one.suffix.lower() in suffixes]
    try:
        scans = find_scans(folder) if len(plain) < len(files) else []
    except MedleyError:
        if not plain:
            raise
        scans = []  # the others are tables and notes
    for scan in [*scans, *(Scan(one, name=one.relative_to(folder).with_suffix("").as_posix()) for one in plain)]:
        name = "series" if scan.path == folder and scan.name == folder.resolve().name else scan.name
        if name in found:
            raise MedleyError(f"{scan.path} and {found[name].path} have the same name; rename one of the pairs")
        found[name] = replace(scan, name=name)
    return found


def partners(low: Path, high: Path) -> list[tuple[str, Scan, Scan]]:
    """The name and the two images of every pair in two parallel folders.

    Raises
    ------
    MedleyError: an image without a partner of the same name.
    """
    lows, highs = named_scans(low), named_scans(high)
    for one, other, where in ((lows, highs, high), (highs, lows, low)):
        if alone := [name for name in one if name not in other]:
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            raise MedleyError(
                f"{one[alone[0]].path}{more} has no partner called {alone[0]!r} in {where}; a pair has the same "
                "relative path in both folders, without suffix"
            )
    return [(name, lows[name], highs[name]) for name in sorted(lows)]


def _of_folders(source: Path) -> Iterator[RecordSource]:
    low, high = source / LOW, source / HIGH
    if missing := [folder.name for folder in (low, high) if not folder.is_dir()]:
        raise MedleyError(
            f"{source} holds no folder {' and no folder '.join(missing)} and no table {TABLE}; expected the folders "
            f"{LOW} and {HIGH} with the same relative names, or a table with the columns input, target and subject"
        )
    for name, one, other in partners(low, high):
        parts = Path(name).parts[:-1]
        task = next((task for part in parts if (task := task_called(part))), None)
        yield record_source(one, other, task, source=name, name=name, subject=name, split=split_of(name, parts))


def _of_table(table: Path, source: Path) -> Iterator[RecordSource]:
    lines: dict[Path, int] = {}
    for row in read_table(table, (LOW, HIGH, "subject"), each="pair"):
        where = f"{table}, line {row.line}"
        for column in (LOW, HIGH, "subject"):
            if not row.cells[column]:
                raise MedleyError(f"{where}: {column} is empty; fill it in or remove the line")
        paths = [source / row.cells[column] for column in (LOW, HIGH)]
        for path in paths:
            if not path.exists():
                raise MedleyError(f"{where}: there is no {path}")
        if (first := lines.setdefault(paths[0].resolve(), row.line)) != row.line:
            raise MedleyError(f"{where}: {row.cells[LOW]} is already listed in line {first}; remove one of the lines")
        if paths[0].resolve() == paths[1].resolve():
            raise MedleyError(f"{where}: input and target are the same file; name the two images of the pair")
        stated = row.cells.get("split", "")
        split = split_of(row.cells["subject"], (), f"{where}: {row.cells[LOW]}", stated=stated)
        low, high = (Scan(path, name=path.name) for path in paths)
        yield record_source(
            low,
            high,
            checked_task(row.cells.get("task", ""), where),
            source=row.cells[LOW],
            name=re.sub(r"\.(nii|nii\.gz|[a-zA-Z]+)$", "", row.cells[LOW]),
            subject=row.cells["subject"],
            split=split,
        )
