"""Folders of findings: a table as CSV, figures as PNG, and a page with all of it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from medley.apps._page import document, minus, picture, table_section
from medley.runtime.atomic import replacing
from medley.runtime.text import csv_cell

if TYPE_CHECKING:
    from PIL import Image

Cell = str | int | float | None


@dataclass(frozen=True)
class Findings:
    """What a folder contains.

    Attributes
    ----------
    name: of the table and the page. kind, headline: of the page. notes: paragraphs of it.
    header: lines "# key: value" above the table. rows: of the table, each with the same columns.
    figures: {name of the file: (heading, picture)}. tables: (heading, columns, rows) of the page.
    """

    name: str
    kind: str
    headline: str
    notes: Sequence[str]
    header: Mapping[str, str]
    rows: Sequence[Mapping[str, Cell]]
    figures: Mapping[str, tuple[str, Image.Image]]
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]]


def write_findings(findings: Findings, output: Path, title: str, *, overwrite: bool = False) -> None:
    """Write OUTPUT/NAME.csv, OUTPUT/FIGURE.png and OUTPUT/NAME.html; the folder appears when all of it is there.

    title: of the page.

    Raises
    ------
    MedleyError: the folder exists and `overwrite` is False; it cannot be written.
    """
    from medley.plots.pictures import png_bytes

    with replacing(output, folder=True, overwrite=overwrite) as folder:
        folder.mkdir()
        (folder / f"{findings.name}.csv").write_text(csv_text(findings.header, findings.rows), encoding="utf-8")
        pictures = []
        for name, (heading, image) in findings.figures.items():
            png = png_bytes(image)
            (folder / f"{name}.png").write_bytes(png)
            shown = picture(png, heading, "max-width: 100%; background: white")
            pictures.append(f"<section><h2>{escape(heading)}</h2>{shown}</section>")
        blocks = {
            "notes": "".join(f"<p>{escape(note)}</p>" for note in findings.notes),
            "pictures": "\n".join(pictures),
            "tables": "\n".join(table_section(*table) for table in findings.tables),
        }
        text = {"kind": findings.kind, "name": title, "headline": findings.headline}
        page = document("findings.html", f"{title} · {findings.kind}", text, blocks)
        (folder / f"{findings.name}.html").write_text(page, encoding="utf-8")


def number(value: float, digits: int = 2) -> str:
    """A number for people; "none" for NaN."""
    return "none" if math.isnan(value) else minus(f"{round(value, digits) + 0.0:.{digits}f}")


def csv_text(header: Mapping[str, str], rows: Sequence[Mapping[str, Cell]]) -> str:
    """The content of a CSV file: lines "# key: value", then the rows; None and NaN are empty cells."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO(newline="")
    file.writelines(f"# {key}: {value}\n" for key, value in header.items())
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(csv_cell, columns))
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return file.getvalue()


def _cell(value: Cell) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else csv_cell(str(value))
