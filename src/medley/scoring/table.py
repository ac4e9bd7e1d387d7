"""Rows of scores: to CSV and back, and their means."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np

from medley.errors import MedleyError
from medley.runtime.atomic import replacing


@dataclass(frozen=True)
class Row:
    """The scores of one method on one volume.

    Attributes
    ----------
    case: id of the volume in the store.
    slices: how many were scored; blank ones are not. Where it is 0 the scores are NaN.
    psnr (dB), ssim, rmse: means over these slices. rmse in the unit named in `window`.
    window: the values the images were clipped to, and their unit; for MR also which value of the scan counts as 4095,
        to which both images are scaled.
    settings: what else made the result, such as tuned parameters.
    """

    method: str
    task: str
    subject: str
    case: str
    slices: int
    psnr: float
    ssim: float
    rmse: float
    window: str
    settings: str = ""


@dataclass(frozen=True)
class Summary:
    """The means of one method on one task: over all slices of all cases, or over the cases."""

    task: str
    method: str
    cases: int
    slices: int
    psnr: float
    ssim: float
    rmse: float


def write_csv(rows: Iterable[Row], path: str | Path, *, overwrite: bool = False) -> Path:
    """Write rows, one a line; PSNR and RMSE with 4 decimals, SSIM with 6. The file is written whole or not at all.

    Raises
    ------
    MedleyError: the file exists and `overwrite` is False, or it cannot be written.
    """
    path = Path(path)
    with replacing(path, overwrite=overwrite) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {**asdict(row), "psnr": f"{row.psnr:.4f}", "ssim": f"{row.ssim:.6f}", "rmse": f"{row.rmse:.4f}"}
            )
    return path


def read_csv(path: str | Path) -> list[Row]:
    """The rows of a file that `write_csv` made.

    Raises
    ------
    MedleyError: it cannot be read, or has other columns.
    """
    names = [field.name for field in fields(Row)]
    try:
        with open(path, newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != names:
                raise MedleyError(f"{path} is no table of scores: expected the columns {', '.join(names)}")
            return [_row(line) for line in reader]
    except (OSError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise MedleyError(f"{path} cannot be read as a table of scores: {error}") from error


def summary(rows: Iterable[Row], *, over: Literal["slices", "cases"] = "slices") -> list[Summary]:
    """Mean scores for each task and method, in the order in which they first come.

    Parameters
    ----------
    over: "slices" is the papers' protocol: every scored slice of every case counts the same, so that a long scan counts
        more. "cases": every case counts the same.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.task, row.method), []).append(row)
    tasks = list(dict.fromkeys(task for task, _ in groups))
    return [_mean(task, method, groups[task, method], over) for task in tasks for t, method in groups if t == task]


HEADERS = ("task", "method", "cases", "slices", "PSNR (dB)", "SSIM", "RMSE")


def cells(summaries: Iterable[Summary]) -> list[tuple[str, ...]]:
    """The lines of a table under `HEADERS`, as text: PSNR with 2 decimals, SSIM with 4, RMSE with 4 digits."""
    return [
        (s.task, s.method, str(s.cases), str(s.slices), f"{s.psnr:.2f}", f"{s.ssim:.4f}", f"{s.rmse:.4g}")
        for s in summaries
    ]


def _mean(task: str, method: str, rows: Sequence[Row], over: str) -> Summary:
    scored = [row for row in rows if row.slices > 0]
    slices = [row.slices for row in scored]
    means = [
        float(np.average([getattr(row, name) for row in scored], weights=slices if over == "slices" else None))
        if scored
        else float("nan")
        for name in ("psnr", "ssim", "rmse")
    ]
    return Summary(task, method, len(scored), sum(slices), *means)


def _row(line: dict[str, str]) -> Row:
    kinds = {"slices": int, "psnr": float, "ssim": float, "rmse": float}
    return Row(**{name: kinds.get(name, str)(value) for name, value in line.items()})
