"""Mean scores of methods, and the table of those of restoration methods."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from medley.metrics.image import METRICS
from medley.metrics.measures import CURVES, MEASURES, RECORD, label
from medley.metrics.targets import MAIN, kind_of, summarise
from medley.scoring.rows import ScoreRow
from medley.targets import IMAGE


@dataclass(frozen=True)
class Summary:
    """Mean scores of one method on one task, over all scored slices or over the records, by name."""

    task: str
    method: str
    records: int
    slices: int
    scores: Mapping[str, float]


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


def headers() -> tuple[str, ...]:
    """The columns of a table of summaries: one for each of `medley.metrics.image.METRICS`, after four others."""
    return ("task", "method", "records", "slices", *(metric.title for metric in METRICS.values()))


def cells(summaries: Iterable[Summary]) -> list[tuple[str, ...]]:
    """The lines of a table with the columns `headers()`."""
    return [
        (
            *(one.task, one.method, str(one.records), str(one.slices)),
            *(f"{one.scores.get(name, math.nan):{metric.form}}" for name, metric in METRICS.items()),
        )
        for one in summaries
    ]


def measure_table(rows: Iterable[ScoreRow]) -> list[tuple[str, ...]]:
    """A table of the measures (`metrics.measures`) of restoration methods: its headings, then a line a measure.

    Means with 3 digits, over records with the weight of their slices; [] without measures.
    """
    groups: dict[str, dict[str, list[Mapping[str, float]]]] = {}
    for row in rows:
        if row.target == IMAGE:
            groups.setdefault(row.task, {}).setdefault(row.method, []).append(row.values)
    methods = list(dict.fromkeys(method for of in groups.values() for method in of))
    lines = []
    for task, of in groups.items():
        means = {method: summarise("image", values) for method, values in of.items()}
        for name in RECORD:
            if any(name in found for found in means.values()):
                values = (means.get(method, {}).get(name, math.nan) for method in methods)
                lines.append((task, label(name), *("–" if math.isnan(value) else f"{value:.3g}" for value in values)))
    return [("task", "measure", *methods), *lines] if lines else []


def main_scores(rows: Iterable[ScoreRow]) -> dict[str, float]:
    """The main score (`medley.metrics.targets.MAIN`) of each restoration task or target, by "NAME SCORE"."""
    groups: dict[str, list[Mapping[str, float]]] = {}
    for row in rows:
        groups.setdefault(row.title, []).append(row.values)
    scores = {}
    for title, values in groups.items():
        kind = kind_of(name for one in values for name in one)
        if kind is not None and MAIN[kind] in (found := summarise(kind, values)):
            scores[f"{title} {MAIN[kind]}"] = found[MAIN[kind]]
    return scores


Points = Mapping[str, Sequence[tuple[float, float]]]  # by method, ascending


def strength_curves(rows: Sequence[ScoreRow]) -> dict[tuple[str, str], Points]:
    """Scores against the strength of the degradation: {(task, score): {method: (strength, score) of its records}}.

    The scores are PSNR and the measures that are single numbers. Those with fewer than three different strengths are
    left out.
    """
    curves: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for score in ("psnr", *(name for name in MEASURES if name not in CURVES)):
        for row in rows:
            strength, value = (row.values.get(name, math.nan) for name in ("strength", score))
            if math.isfinite(strength) and math.isfinite(value):
                curves.setdefault((row.task, score), {}).setdefault(row.method, []).append((strength, value))
    return {
        key: {method: sorted(points) for method, points in methods.items()}
        for key, methods in curves.items()
        if len({strength for points in methods.values() for strength, _ in points}) >= 3
    }


def frequency_curves(rows: Sequence[ScoreRow]) -> dict[tuple[str, str], Points]:
    """Curves of the CT phantom: {(dose, "transfer" or "noise_power"): {method: (frequency in 1/mm, value)}}."""
    curves: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        for name, value in row.values.items():
            curve, _, frequency = name.partition(" ")
            if curve in CURVES:
                points = curves.setdefault((row.title, curve), {}).setdefault(row.method, [])
                points.append((float(frequency), value))
    return {key: {method: sorted(points) for method, points in of.items()} for key, of in curves.items()}


def latest(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """The rows of the last training step of each method and random seed, as for the validation during training."""
    last: dict[tuple[str, int], int] = {}
    for row in rows:
        last[row.method, row.seed] = max(row.step, last.get((row.method, row.seed), 0))
    return [row for row in rows if row.step == last[row.method, row.seed]]


def _mean(task: str, method: str, rows: Sequence[ScoreRow], over: str) -> Summary:
    scored = [row.values for row in rows if row.values.get("slices", 0) > 0]
    weighted = scored if over == "slices" else [{**values, "slices": 1} for values in scored]
    means = summarise("image", weighted) if scored else {}
    found = {name: means.get(name, math.nan) for name in METRICS}
    slices = sum(int(values["slices"]) for values in scored)
    return Summary(task, method, len(scored), slices, found)
