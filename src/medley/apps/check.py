"""`medley data check`: the contents of a store and its faults, in the terminal and as a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medley.apps._outputs import check_outputs
from medley.apps._page import document, picture, table_section
from medley.apps._tables import show_rows
from medley.apps._terminal import complain, progress, say
from medley.errors import MedleyError
from medley.runtime.atomic import replacing
from medley.runtime.extras import require_extra
from medley.runtime.text import counted

if TYPE_CHECKING:
    from PIL import Image

    from medley.data.checking import StoreCheck
    from medley.data.record import Record
    from medley.data.store import Store

_Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]  # title, headings, rows


def check(path: Path, *, sheets: Sequence[Path] = (), overwrite: bool = False, quiet: bool = False) -> int:
    """Print the contents of a store and every problem of it.

    Parameters
    ----------
    sheets: files for a contact sheet, FILE.png or FILE.html; the page contains the tables and problems too.

    Returns
    -------
    The exit code: 0, or 1 if there is a problem.

    Raises
    ------
    MedleyError: there is no store, or its manifest cannot be read; a sheet has another suffix, lies in the store, or
        exists and `overwrite` is False; no record can be shown.
    """
    require_extra("train")
    from medley.data.checking import check_store
    from medley.data.store import Store

    for file in sheets:
        if file.suffix.lower() not in (".png", ".html"):
            raise MedleyError(f"{file}: a contact sheet ends in .png or .html")
    check_outputs(path, [], sheets, overwrite=overwrite)
    store = Store(path)
    with progress("checking", quiet=quiet) as update:
        found = check_store(store, update)
    tables = _tables(store, found)
    for _, headings, rows in tables:
        show_rows(headings, rows)
    for problem in found.problems:
        complain(problem)
    headline = (
        f"{counted(len(store.records()), 'record')}, {found.damaged} damaged, {counted(len(found.problems), 'problem')}"
    )
    say(f"{path}: {headline}")
    if sheets:
        _write(store, found, sheets, tables, headline, overwrite)
        say(f"contact sheet -> {', '.join(map(str, sheets))}", quiet=quiet)
    return 1 if found.problems else 0


def _tables(store: Store, found: StoreCheck) -> list[_Table]:
    """Contents, values, and alignment of pairs, each with a row for every task and split."""
    contents: list[tuple[str, ...]] = []
    values: list[tuple[str, ...]] = []
    pairs: list[tuple[str, ...]] = []
    for (task, split), records in sorted(found.groups.items()):
        several = not store.manifest.tasks[task].restores
        counts = ", ".join(f"{name} {n}" for name, n in sorted(found.labels[task, split].items())) if several else ""
        slices = str(sum(one.shape[0] for one in records if len(one.shape) == 3))
        contents.append((task, split, str(len({one.subject for one in records})), str(len(records)), slices, counts))
        values += _value_rows(store, found, task, split, records)
        pairs += _pair_rows(found, task, split, records)
    unit = "1 % | median | 99 %"
    tables: list[_Table] = [
        ("Contents", ("task", "split", "subjects", "records", "slices", "targets"), contents),
        ("Values", ("task", "split", "array", "unit", "lowest", unit, "highest", "outside the range"), values),
    ]
    if pairs:
        headings = ("task", "split", "pairs", "median shift", "largest shift", "of", "contrast", "correlation")
        tables.append(("Input against target", headings, pairs))
    return tables


def _value_rows(
    store: Store, found: StoreCheck, task: str, split: str, records: Sequence[Record]
) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    known = [found.values[one.id] for one in records if one.id in found.values]
    for name in dict.fromkeys(name for each in known for name in each):
        arrays = [each[name] for each in known if name in each]
        middle = np.median([one.percentiles for one in arrays], axis=0)
        low, high = min(one.low for one in arrays), max(one.high for one in arrays)
        outside = 100 * float(np.mean([one.outside for one in arrays]))
        percentiles = " | ".join(f"{x:.4g}" for x in middle)
        unit = store.manifest.tasks[task].unit
        rows.append((task, split, name, unit, f"{low:.4g}", percentiles, f"{high:.4g}", f"{outside:.2g} %"))
    return rows


def _pair_rows(found: StoreCheck, task: str, split: str, records: Sequence[Record]) -> list[tuple[str, ...]]:
    compared = {one.id: found.pairs[one.id] for one in records if one.id in found.pairs}
    if not compared:
        return []
    worst = max(compared, key=lambda name: compared[name].distance)
    middle = float(np.median([one.distance for one in compared.values()]))
    scale = float(np.median([one.scale for one in compared.values()]))
    correlation = min(one.correlation for one in compared.values())
    shifts = f"{middle:.2f} pixels", f"{compared[worst].distance:.2f} pixels", worst
    return [(task, split, str(len(compared)), *shifts, f"{scale:.2f}", f"{correlation:.2f} or more")]


def _write(
    store: Store, found: StoreCheck, sheets: Sequence[Path], tables: list[_Table], headline: str, overwrite: bool
) -> None:
    from medley.plots.contact import contact_sheet

    if not found.records:
        raise MedleyError(f"{store.path} has no record that can be shown; a contact sheet needs one that is complete")
    remarks = {
        name: f"shift {pair.shift[0]:+.2f}, {pair.shift[1]:+.2f} pixels" if pair.shift else "shift unknown"
        for name, pair in found.pairs.items()
    }
    sheet = contact_sheet(store, found.records, remarks)
    for file in sheets:
        with replacing(file, overwrite=overwrite) as temporary:
            if file.suffix.lower() == ".png":
                sheet.save(temporary, "PNG")
            else:
                temporary.write_text(_page(store, found, tables, headline, sheet), encoding="utf-8")


def _page(store: Store, found: StoreCheck, tables: list[_Table], headline: str, sheet: Image.Image) -> str:
    from medley.plots.pictures import png_bytes

    problems = "".join(f'<p class="notice">{escape(problem)}</p>' for problem in found.problems)
    name = store.path.resolve().name
    blocks = {
        "problems": problems,
        "tables": "".join(table_section(*table) for table in tables),
        "sheet": picture(png_bytes(sheet), "contact sheet"),
    }
    return document("check.html", f"{name} · medley data check", {"name": name, "headline": headline}, blocks)
