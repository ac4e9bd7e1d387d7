"""Rows: one measured value of one restorer on one scan, with its limits."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HEADERS = ("model", "check", "scan", "value", "unit", "limit", "passed")


@dataclass(frozen=True)
class Row:
    """A value that passes if low <= value <= high; without both it is only reported.

    Attributes
    ----------
    check: what was measured, and in which kind of scans. Rows with the same text are one line of the table.
    """

    model: str
    check: str
    scan: str
    value: float
    unit: str
    low: float = -math.inf
    high: float = math.inf

    @property
    def limit(self) -> str:
        """As text; "" without a limit."""
        low, high = math.isfinite(self.low), math.isfinite(self.high)
        if low and high:
            return f"{self.low:.4g} to {self.high:.4g}"
        return f">= {self.low:.4g}" if low else f"<= {self.high:.4g}" if high else ""

    @property
    def passed(self) -> bool | None:
        """None without a limit. A value that is not a number has not passed."""
        return self.low <= self.value <= self.high if self.limit else None

    def cells(self) -> tuple[str, ...]:
        """The text of each column of HEADERS."""
        passed = {None: "", True: "yes", False: "no"}[self.passed]
        return (self.model, self.check, self.scan, f"{self.value:.5g}", self.unit, self.limit, passed)


def write(rows: Iterable[Row], path: Path) -> None:
    """The rows as CSV, with the columns HEADERS."""
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADERS, *(row.cells() for row in rows)])


def summary(rows: Iterable[Row]) -> list[tuple[str, ...]]:
    """The lines of a table, first its headers: the rows of each model and check, over their scans."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.model, row.check, row.unit), []).append(row)
    return [
        ("model", "check", "scans", "mean", "lowest", "highest", "unit", "limit", "passed"),
        *(_line(groups[key]) for key in sorted(groups, key=lambda key: key[:2])),
    ]


def _line(rows: list[Row]) -> tuple[str, ...]:
    values = [row.value for row in rows]
    limits = {row.limit for row in rows}
    limit = limits.pop() if len(limits) == 1 else "of each scan"
    passed = f"{sum(row.passed is True for row in rows)} of {len(rows)}" if limit else ""
    numbers = (f"{one:.4g}" for one in (sum(values) / len(values), min(values), max(values)))
    return (rows[0].model, rows[0].check, str(len(rows)), *numbers, rows[0].unit, limit, passed)


def show(lines: list[tuple[str, ...]]) -> None:
    """Print a table, its columns aligned."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
