"""Mean scores of restoration methods, and the table that shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medley.metrics.image import METRICS
from medley.scoring.rows import IMAGE, ScoreRow

HEADERS = ("task", "method", "records", "slices", "PSNR (dB)", "SSIM", "RMSE")


@dataclass(frozen=True)
class Summary:
    """Mean scores of one method on one task, over all scored slices or over the records."""

    task: str
    method: str
    records: int
    slices: int
    psnr: float
    ssim: float
    rmse: float


def summary(rows: Iterable[ScoreRow], *, over: Literal["slices", "records"] = "slices") -> list[Summary]:
    """Mean scores of each restoration task and method, in the order of their first rows.

    Parameters
    ----------
    over: "slices" is the papers' protocol: every scored slice has the same weight, so that a long scan counts more.
        "records": every record has the same weight.
    """
    groups: dict[tuple[str, str], list[ScoreRow]] = {}
    for row in rows:
        if row.target == IMAGE:
            groups.setdefault((row.task, row.method), []).append(row)
    tasks = list(dict.fromkeys(task for task, _ in groups))
    return [_mean(task, method, groups[task, method], over) for task in tasks for t, method in groups if t == task]


def cells(summaries: Iterable[Summary]) -> list[tuple[str, ...]]:
    """The lines of a table with the columns `HEADERS`: PSNR with 2 decimals, SSIM with 4, RMSE with 4 digits."""
    return [
        (s.task, s.method, str(s.records), str(s.slices), f"{s.psnr:.2f}", f"{s.ssim:.4f}", f"{s.rmse:.4g}")
        for s in summaries
    ]


def _mean(task: str, method: str, rows: Sequence[ScoreRow], over: str) -> Summary:
    scored = [row.values for row in rows if row.values.get("slices", 0) > 0]
    slices = [int(values["slices"]) for values in scored]
    means = {
        name: float(np.average([v[name] for v in scored], weights=slices if over == "slices" else None))
        if scored
        else float("nan")
        for name in METRICS
    }
    return Summary(task, method, len(scored), sum(slices), **means)
