"""The tables of data sets: CSV files as saved by people and spreadsheets, with one reader for all."""

from __future__ import annotations

import codecs
import csv
import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medley.errors import MedleyError, MedleyNotice
from medley.runtime.guard import reading

_LARGEST = 64 * 2**20  # bytes of a table; larger files are something else
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True)
class Row:
    """One row of a table: the number of its line in the file, from 1, and its cells by column, without outer spaces."""

    line: int
    cells: dict[str, str]


def read_table(path: Path, columns: Iterable[str], *, each: str) -> list[Row]:
    """All rows of a CSV file.

    The encoding may be UTF-8, UTF-16 with a byte order mark or, with a notice, Windows-1252, which contains Latin-1;
    the separator comma, semicolon or tab. Empty lines are skipped. Cells missing at the end of a row are empty.

    Parameters
    ----------
    columns: names that the first line must contain. each: what a row describes, for messages: "image", "scan".

    Raises
    ------
    MedleyError: the file cannot be read as a CSV, lacks a column or has one twice, or a row has too many cells.
    """
    with reading(path, "a CSV table"):
        if path.stat().st_size > _LARGEST:
            raise MedleyError(f"{path}: has {path.stat().st_size / 1e6:.0f} MB, expected a table of at most 67 MB")
        text = _decoded(path)
        if "\0" in text:
            raise ValueError("it contains NUL characters")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
        before = csv.field_size_limit(_LARGEST)
        try:
            lines = [(reader.line_num, [cell.strip() for cell in line]) for line in reader]
        finally:
            csv.field_size_limit(before)
    lines = [(number, cells) for number, cells in lines if any(cells)]
    header = lines[0][1] if lines else []
    if missing := sorted(set(columns) - set(header)):
        raise MedleyError(f"{path}: has no column {' and no column '.join(missing)}; add it, with one row per {each}")
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise MedleyError(f"{path}: has the column {twice[0]} twice; keep one")
    rows = []
    for number, cells in lines[1:]:
        if any(cells[len(header) :]):
            raise MedleyError(
                f"{path}, line {number}: has {len(cells)} cells, but the table has {len(header)} columns; put cells "
                "that contain the separator in quotes"
            )
        cells += [""] * (len(header) - len(cells))
        rows.append(Row(number, {name: cell for name, cell in zip(header, cells, strict=False) if name}))
    return rows


def read_rows(path: Path, key: str, columns: Iterable[str] = ()) -> dict[str, dict[str, str]]:
    """The rows of a CSV file by their cell in column `key`; see `read_table`.

    Raises
    ------
    MedleyError: as `read_table`; a row without a key, or a key twice.
    """
    rows: dict[str, dict[str, str]] = {}
    for row in read_table(path, (key, *columns), each="image"):
        name = row.cells[key]
        if not name:
            raise MedleyError(f"{path}, line {row.line}: {key} is empty; fill it in or remove the line")
        if name in rows:
            raise MedleyError(f"{path}, line {row.line}: {name} is listed twice; keep one of the lines")
        rows[name] = row.cells
    return rows


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    for bom, encoding in _BOMS:
        if content.startswith(bom):
            return content.decode(encoding)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        warnings.warn(
            f"{path}: is not UTF-8 and was read as Windows-1252 (Latin-1); check names with accents, or save it as "
            "UTF-8",
            MedleyNotice,
            stacklevel=2,
        )
        return content.decode("cp1252", errors="replace")


def _delimiter(text: str) -> str:
    """The separator of the first line that is not empty: comma, or semicolon or tab if these occur more often."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return max((",", ";", "\t"), key=first.count)
