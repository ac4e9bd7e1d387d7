"""Tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from medley.runtime.text import printable


class _PlainTable(Table):
    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        plain = (Text(printable(cell)) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*plain, **options)


def new_table(*columns: str) -> Table:
    """A table with these headings. Its cells are plain text without markup; control characters are written out."""
    table = _PlainTable(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def show_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of plain text."""
    table = new_table(*columns)
    for row in rows:
        table.add_row(*row)
    show(table)


def show(table: Table) -> None:
    """Print a table on stdout; where that is not a terminal, in its full width."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 400
    console.print(table)
