"""Score rows: the scores of one method on one record and target, and the one CSV format for them.

`medley evaluate`, `medley compare` and the validation during training write this format; `medley report` reads it.
The names of scores are those of the columns after `COLUMNS`: a new score does not change the format, and tables without
it are read as before.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medley.errors import MedleyError
from medley.metrics.measures import units
from medley.runtime.atomic import replacing
from medley.runtime.text import csv_cell, from_csv_cell
from medley.targets import IMAGE

FORMAT = "# medley scores: format 3"  # first line of a file
COLUMNS = (
    "method", "seed", "step", "task", "target", "subject", "record", "split", "parameters", "flops", "seconds",
    "window", "settings",
)  # fmt: skip
_COMMA = re.compile(r",(?=[=+@\t＝＋－＠-])")  # before what a spreadsheet would run as a formula
_INTEGERS = {"seed", "step", "parameters", "flops"}
# The first columns of files of older versions.
_OLD = (
    ("method", "seed", "task", "target"),
    ("method", "seed", "task", "subject", "case"),
    ("method", "task", "subject", "case", "slices"),
)


@dataclass(frozen=True)
class ScoreRow:
    """The scores of one method on one target of one record.

    Attributes
    ----------
    method: name in tables. seed: random seed of its training; 0 for methods without training.
    step: training steps of the network that was scored; 0 for methods without training, and if unknown.
    task: name of the task. target: name of the target; "image" for restoration.
    subject: whose record it is; intervals are computed by resampling subjects.
    split: the subjects that were scored.
    parameters, flops, seconds: cost of the method: FLOPs (2 per multiply-add) of one forward pass, seconds of training.
        0 if unknown. With one network per task or target they are sums, and so is `step`; but the FLOPs of a restorer
        are those of one network, since a slice goes through one only.
    window: the values that images were clipped to, with their unit; for MR also the value that was scaled to 4095.
    settings: what else determines the result, such as tuned parameters.
    values: scores by name, as `metrics.targets.score_output` computes them; for images psnr (dB), ssim, rmse (in the
        unit of the window), slices, the number of scored slices, strength, that of a simulated degradation, and the
        measures of `metrics.measures`, which are not clipped to the window. Scores that could not be computed are
        absent.
    """

    method: str
    task: str
    target: str
    subject: str
    record: str
    seed: int = 0
    step: int = 0
    split: str = ""
    parameters: int = 0
    flops: int = 0
    seconds: float = 0.0
    window: str = ""
    settings: str = ""
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Name of the group of rows that are averaged: the restoration task, or the target of another task."""
        return self.task if self.target == IMAGE else self.target


def write_scores(
    rows: Iterable[ScoreRow], path: str | Path, *, header: Mapping[str, str] | None = None, overwrite: bool = False
) -> Path:
    """Write score rows as CSV; values have 7 significant digits. The file is written completely or not at all.

    Parameters
    ----------
    header: information on all rows (experiment, baseline, command, problem ...), written as "# key: value" lines. The
        units of measures are added.

    Raises
    ------
    MedleyError: the file exists and `overwrite` is False, or it cannot be written.
    ValueError: a header entry contains a line break, or a score has the name of a column.
    """
    path, rows = Path(path), list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    if taken := set(names) & set(COLUMNS):
        raise ValueError(f"a score cannot be called {', '.join(sorted(taken))}")
    header = {**(header or {}), **({"units": units(names)} if units(names) else {})}
    # A spreadsheet splits header lines at commas: a space keeps what follows from being run as a formula.
    lines = [f"# {key}: {_COMMA.sub(', ', value)}" for key, value in header.items()]
    if any(len(line.splitlines()) > 1 for line in lines):
        raise ValueError("a header entry must not contain line breaks")
    with replacing(path, overwrite=overwrite) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.writelines(f"{line}\n" for line in (FORMAT, *lines))
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *map(csv_cell, names)])
        for row in rows:
            known = [_cell(getattr(row, column)) for column in COLUMNS]
            writer.writerow([*known, *(_cell(float(row.values.get(name, math.nan))) for name in names)])
    return path


def read_scores(path: str | Path) -> tuple[list[ScoreRow], dict[str, str]]:
    """The rows and the header of a file that `write_scores` wrote.

    Raises
    ------
    MedleyError: the file cannot be read, is of an older version, is not a table of scores, has no rows, or has a line
        that does not fit its columns.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = file.read().splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise MedleyError(f"{path}: cannot be read as a table of scores: {error}") from error
    if lines and not lines[-1].endswith("\n"):
        raise MedleyError(f"{path}: is cut off: its last line is incomplete; run evaluate or compare again")
    begin = next((k for k, line in enumerate(lines) if not line.startswith("#")), len(lines))
    header = dict(_key_and_value(line) for line in lines[:begin] if line.strip() != FORMAT)
    reader = csv.reader(io.StringIO("".join(lines[begin:]), newline=""))
    try:
        columns = [from_csv_cell(name) for name in next(reader, [])]
        _check_columns(path, columns)
        rows = [_row(path, begin + reader.line_num, columns, line) for line in reader]
    except csv.Error as error:
        raise MedleyError(f"{path}: cannot be read as a table of scores: {error}") from error
    if not rows:
        raise MedleyError(f"{path}: contains no scores, only the names of the columns")
    return rows, header


def _check_columns(path: str | Path, columns: list[str]) -> None:
    if not columns:
        raise MedleyError(f"{path}: is empty; expected a table of scores as medley evaluate or compare writes it")
    if any(tuple(columns[: len(old)]) == old for old in _OLD):
        raise MedleyError(
            f"{path}: is an old table of scores, written by an earlier version of medley; run evaluate or compare again"
        )
    if tuple(columns[: len(COLUMNS)]) != COLUMNS:
        raise MedleyError(
            f"{path}: is not a table of scores: its columns begin with {', '.join(columns[: len(COLUMNS)])}, "
            f"expected {', '.join(COLUMNS)}"
        )
    if twice := {name for name in columns if columns.count(name) > 1}:
        raise MedleyError(f"{path}: the column {', '.join(sorted(twice))} occurs more than once")


def _cell(value: str | int | float) -> str:
    if isinstance(value, str):
        return csv_cell(value)
    if isinstance(value, int):
        return str(value)
    return "" if math.isnan(value) else f"{value:.7g}"


def _key_and_value(line: str) -> tuple[str, str]:
    key, _, value = line.removeprefix("#").partition(":")
    return key.strip(), value.strip()


def _row(path: str | Path, number: int, columns: list[str], line: list[str]) -> ScoreRow:
    try:
        found = dict(zip(columns, line, strict=True))
        known = {
            name: int(found[name]) if name in _INTEGERS else from_csv_cell(found[name])
            for name in COLUMNS
            if name != "seconds"
        }
        values = {name: float(text) for name, text in found.items() if name not in COLUMNS and text}
        return ScoreRow(**known, seconds=float(found["seconds"]), values=values)  # type: ignore[arg-type]
    except ValueError as error:
        raise MedleyError(f"{path}: line {number} does not fit the columns of the table of scores: {error}") from error
