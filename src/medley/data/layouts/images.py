"""Layout "images": good pictures (PNG, TIFF, JPEG, BMP) of X-ray, ultrasound, OCT and pathology, which are degraded.

As the layout "folder", with these differences: only pictures are read, also where there are other scans beside them;
masks are left out; and SOURCE itself may have the name of the modality.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from medley.data.layouts.folder import rows_of_table, study, table_of
from medley.data.layouts.study import Study
from medley.errors import MedleyError, MedleyNotice
from medley.io.files import Scan
from medley.io.pictures import READS

_MASK = re.compile(r".*(mask|segmentation).*/.*|.*_(mask|segmentation)(_\d+)?\.\w+", re.IGNORECASE)


def studies(source: Path, table: Path | None = None) -> Iterator[Study]:
    """The pictures below `source`, in the order of their paths or of the table.

    Without a table, every picture is a subject of its own, and masks are left out: folders with "mask" or
    "segmentation" in their names, and pictures called NAME_mask, NAME_mask_1 or NAME_segmentation. A `MedleyNotice`
    states how many lines of the table name other files than pictures.

    Parameters
    ----------
    source: the folder.
    table: CSV with the columns file and subject, and optionally split and modality; None takes `sources.csv` or
        `subjects.csv` of the folder, if there is one.

    Raises
    ------
    MedleyError: there is no such folder, or no picture in it; the table cannot be read or lacks a column, or a file in
        it does not exist.
    """
    if not source.is_dir():
        raise MedleyError(f"{source} is not a folder; give the folder that holds the pictures")
    table = table or table_of(source)
    rows = list(rows_of_table(table, source) if table else _rows_of_folder(source))
    pictures = [(scan, row) for scan, row in rows if scan.path.suffix.lower() in READS]
    if not pictures:
        raise MedleyError(f"{table or source}: names or holds no picture; expected {', '.join(READS)}")
    if others := len(rows) - len(pictures):
        notice = f"{table}: {others} lines name files that are not pictures, and are left out"
        warnings.warn(notice, MedleyNotice, stacklevel=2)
    for scan, row in pictures:
        yield study(scan, row, str(table), place=source.resolve().name)


def _rows_of_folder(source: Path) -> Iterator[tuple[Scan, dict[str, str]]]:
    for path in sorted(one for one in source.rglob("*") if one.is_file() and one.suffix.lower() in READS):
        relative = path.relative_to(source)
        name = relative.as_posix()
        if not _MASK.fullmatch(name) and not any(part.startswith(".") for part in relative.parts):
            yield Scan(path, name=name), {"file": name, "subject": name}
