"""Rows of a comparison: what every method, with every seed, made of every case, as CSV and back."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medley.errors import MedleyError
from medley.runtime.atomic import replacing

COLUMNS = ("method", "seed", "task", "subject", "case", "parameters", "flops", "seconds")


@dataclass(frozen=True)
class ScoreRow:
    """The scores of one method on one case.

    Attributes
    ----------
    seed: of its training. task: of a multi-task net a target's name, of a restorer its task.
    subject: whose case it is; what is resampled for intervals.
    parameters, flops, seconds: of all that the method needs to answer all its tasks, the networks of one that has one
        for each task added up; FLOPs (2 for a multiply-add) forward for one case, seconds of training.
    values: the scores by name, as `metrics.answers.score_answer` gives them; of a restorer psnr, ssim, rmse and slices.
    """

    method: str
    seed: int
    task: str
    subject: str
    case: str
    parameters: int
    flops: int
    seconds: float
    values: Mapping[str, float] = field(default_factory=dict)


def write_scores(
    rows: Iterable[ScoreRow], path: str | Path, *, header: Mapping[str, str] | None = None, overwrite: bool = False
) -> Path:
    """Write rows, one a line, values with 7 digits; the file is written whole or not at all.

    Parameters
    ----------
    header: what the rows are about (experiment, baseline, command, problem ...), one line of text each; comes first, as
        "# key: value".

    Raises
    ------
    MedleyError: the file exists and `overwrite` is False, or it cannot be written.
    ValueError: a key or value of the header has line breaks, or a value's name is that of a column.
    """
    path, rows = Path(path), list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    if taken := set(names) & set(COLUMNS):
        raise ValueError(f"a score cannot be called {', '.join(sorted(taken))}")
    lines = [f"# {key}: {value}" for key, value in (header or {}).items()]
    if any(len(line.splitlines()) > 1 for line in lines):
        raise ValueError("a header is one line a key")
    with replacing(path, overwrite=overwrite) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.writelines(f"{line}\n" for line in lines)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *names])
        for row in rows:
            known = [getattr(row, column) for column in COLUMNS[:-1]]
            writer.writerow([*known, f"{row.seconds:.7g}", *(_text(row.values.get(name, math.nan)) for name in names)])
    return path


def read_scores(path: str | Path) -> tuple[list[ScoreRow], dict[str, str]]:
    """The rows and the header of a file that `write_scores` made.

    Raises
    ------
    MedleyError: it cannot be read, is empty, has other columns or a line that does not fit them.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MedleyError(f"{path}: cannot be read as a table of scores: {error}") from error
    begin = next((k for k, line in enumerate(lines) if not line.startswith("#")), len(lines))
    header = dict(_key_and_value(line) for line in lines[:begin])
    reader = csv.reader(lines[begin:])
    columns = next(reader, None)
    if columns is None:
        raise MedleyError(f"{path}: is empty; expected a table of scores as medley compare writes it")
    if tuple(columns[: len(COLUMNS)]) != COLUMNS:
        raise MedleyError(
            f"{path}: is no table of scores of a comparison: its columns begin with "
            f"{', '.join(columns[: len(COLUMNS)])}, expected {', '.join(COLUMNS)}"
        )
    rows = [_row(path, number, columns, line) for number, line in enumerate(reader, begin + 2)]
    if not rows:
        raise MedleyError(f"{path}: holds no scores, only the names of the columns")
    return rows, header


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.7g}"


def _key_and_value(line: str) -> tuple[str, str]:
    key, _, value = line.removeprefix("#").partition(":")
    return key.strip(), value.strip()


def _row(path: str | Path, number: int, columns: list[str], line: list[str]) -> ScoreRow:
    try:
        found = dict(zip(columns, line, strict=True))
        values = {name: float(text) for name, text in found.items() if name not in COLUMNS and text}
        return ScoreRow(
            found["method"], int(found["seed"]), found["task"], found["subject"], found["case"],
            int(found["parameters"]), int(found["flops"]), float(found["seconds"]), values,
        )  # fmt: skip
    except ValueError as error:
        raise MedleyError(f"{path}: line {number} does not fit the table of scores: {error}") from error
