"""Statistics of a comparison: scores with intervals, and whether a method differs from the baseline.

Intervals come from a bootstrap over subjects and seeds (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
ch. 13, percentiles). Subjects are drawn with replacement, together with all their cases and tasks. All methods get the
same draws of subjects, so differences are paired. The seeds (trainings) of each method are drawn independently of those
of other methods, the same draw for all tasks; deviations from the mean over n seeds are scaled by sqrt(n / (n - 1)),
because a bootstrap of n values underestimates their variance by that factor squared. With one seed the interval
contains the variation between subjects only. Scores that pool cases (DVH score, AUROC, balanced accuracy) are computed
again in every draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medley.errors import MedleyError
from medley.metrics.measures import is_measure
from medley.metrics.targets import MAIN, higher_is_better, improvement, kind_of, pooled
from medley.scoring.rows import ScoreRow

RESAMPLES = 2000
# With fewer subjects no interval is given, and no difference is called better or worse.
FEWEST_SUBJECTS = 6
FLOOR = 0.05  # relative changes of main scores nearer to zero than this (such as Dice 0.004) mean nothing
Verdict = Literal["better", "worse", ""]
_Run = tuple[str, int]  # method and seed
_EACH = {"dose_score": "mae", "dvh_score": "dvh"}  # pooled score -> the column of single cases


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval over resampled subjects and seeds; NaN at both ends below `FEWEST_SUBJECTS`."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class MethodScore:
    """One score of one method on one task.

    Attributes
    ----------
    estimate: mean over the seeds. seeds: the score of each.
    difference: to the baseline, in the unit of the score; None for the baseline itself, and where it lacks the task.
    cases: (case,), mean over the seeds; for AUROC and balanced accuracy, which no single case has, the probability
        given to the true class.
    """

    estimate: Estimate
    seeds: tuple[float, ...]
    difference: Estimate | None
    cases: np.ndarray


@dataclass(frozen=True)
class MethodSummary:
    """Costs of a method, and its mean improvement over the baseline in %.

    Attributes
    ----------
    parameters, flops, seconds: as in `ScoreRow`, mean over the seeds. seeds: how many.
    steps: training steps, mean over the seeds; 0 if unknown.
    delta: mean relative improvement of the main scores (`metrics.targets.delta`), in %; None for the baseline, and
        if one of the two lacks a task or a score of the baseline is nearer to zero than `FLOOR`.
    """

    name: str
    parameters: float
    flops: float
    seconds: float
    seeds: int
    delta: Estimate | None
    steps: float = 0.0


@dataclass(frozen=True)
class MethodDifferences:
    """Methods on the same cases.

    Attributes
    ----------
    methods: in the order of the rows. baseline: name of the method that the others are compared with.
    tasks: task -> its scores, the main one first. findings: by (task, score, method).
    subjects, cases: how many in all. resamples: how many draws stand behind an interval.
    """

    methods: tuple[MethodSummary, ...]
    baseline: str
    tasks: Mapping[str, tuple[str, ...]]
    findings: Mapping[tuple[str, str, str], MethodScore]
    subjects: int
    cases: int
    resamples: int


def verdict(difference: Estimate, *, higher: bool | None) -> Verdict:
    """Whether a difference is "better" or "worse"; "" if its interval contains 0 or there is none, and without
    `higher`.
    """
    if higher is None or not difference.excludes_zero:
        return ""
    return "better" if (difference.value > 0) == higher else "worse"


def compare_methods(
    rows: Sequence[ScoreRow], *, baseline: str | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> MethodDifferences:
    """Scores, intervals and differences of the methods in the rows of one experiment.

    Parameters
    ----------
    baseline: the method the others are compared to; None for the first. resamples: draws of subjects, from `seed`.

    Raises
    ------
    MedleyError: there is no such baseline; a method lacks cases or scores that others have, or has a case twice; a task
        has no known score.
    """
    names = tuple(dict.fromkeys(row.method for row in rows))
    if not names:
        raise MedleyError("there are no scores to compare")
    baseline = names[0] if baseline is None else baseline
    if baseline not in names:
        raise MedleyError(f"there is no method {baseline!r} to compare with; the scores are of {', '.join(names)}")
    tables = {task: _table(task, rows) for task in dict.fromkeys(row.title for row in rows)}
    draws = _draws(tables.values(), resamples, seed)
    trainings = _seed_draws(rows, resamples, seed)
    scored = {task: _scores(table, draws, trainings) for task, table in tables.items()}
    tasks = {task: _ordered(tables[task].kind, scores) for task, scores in scored.items()}
    findings = {
        (task, score, name): _finding(tables[task], scored[task], score, name, baseline)
        for task, scores in tasks.items()
        for score in scores
        for name in names
        if name in scored[task][score]
    }
    mains = {(task, scores[0]): scored[task][scores[0]] for task, scores in tasks.items()}
    return MethodDifferences(
        methods=tuple(_method(name, baseline, rows, mains) for name in names),
        baseline=baseline,
        tasks=tasks,
        findings=findings,
        subjects=len({row.subject for row in rows}),
        cases=len({row.record for row in rows}),
        resamples=resamples,
    )


@dataclass(frozen=True)
class _TaskScores:
    """The values of one task, every run on the same cases.

    kind: of its scores. runs: (method, seed). subjects: (case,). columns: (run, case) by name, NaN where there is none.
    """

    kind: str
    runs: list[_Run]
    subjects: list[str]
    columns: dict[str, np.ndarray]


def _table(task: str, rows: Sequence[ScoreRow]) -> _TaskScores:
    runs = _runs(task, rows)
    cases = {case: row for run in runs.values() for case, row in run.items()}
    for (method, seed), run in runs.items():
        if missing := [case for case in cases if case not in run]:
            raise MedleyError(f"{method}, seed {seed}: lacks {task} of {_listed(missing)}, which other methods have")
    columns = _columns(task, runs, list(cases))
    kind = kind_of(columns)
    if kind is None:
        raise MedleyError(f"{task}: has no score that is known, only {', '.join(columns) or 'empty ones'}")
    return _TaskScores(kind, list(runs), [row.subject for row in cases.values()], columns)


def _runs(task: str, rows: Sequence[ScoreRow]) -> dict[_Run, dict[str, ScoreRow]]:
    """The rows of every run of the methods that do the task, by case; a run may have none yet."""
    methods = {row.method for row in rows if row.title == task}
    runs: dict[_Run, dict[str, ScoreRow]] = {(row.method, row.seed): {} for row in rows if row.method in methods}
    for row in rows:
        if row.title == task:
            run = runs[row.method, row.seed]
            if row.record in run:
                raise MedleyError(f"{row.method}, seed {row.seed}: {task} of {row.record} has two rows")
            run[row.record] = row
    return runs


def _columns(task: str, runs: Mapping[_Run, Mapping[str, ScoreRow]], cases: Sequence[str]) -> dict[str, np.ndarray]:
    """The values by name, (run, case) each; what one run has of a case, all must have.

    Measures that a whole run lacks are left out: they are not in tables of scores of older versions.
    """
    values = [[run[case].values for case in cases] for run in runs.values()]
    names = dict.fromkeys(name for run in values for one in run for name in one)
    columns = {name: np.array([[one.get(name, np.nan) for one in run] for run in values]) for name in names}
    for name in [name for name in columns if is_measure(name)]:
        if np.isnan(columns[name]).all(axis=1).any():
            del columns[name]
    for name, column in columns.items():
        lacking = np.isnan(column)
        uneven = lacking & ~lacking.all(axis=0)
        if uneven.any():
            r, k = np.argwhere(uneven)[0]
            method, seed = list(runs)[r]
            raise MedleyError(f"{method}, seed {seed}: lacks {name!r} of {cases[k]} ({task}), which other methods have")
    return columns


def _listed(cases: Sequence[str]) -> str:
    more = f" and {len(cases) - 5} more" if len(cases) > 5 else ""
    return f"{', '.join(cases[:5])}{more}"


def _draws(tables: Iterable[_TaskScores], resamples: int, seed: int) -> dict[str, np.ndarray]:
    """How often each subject is drawn, (1 + resamples,); the first is no draw: everyone once.

    Subjects are drawn among those whose tasks hang together: a CT task and a PET task of different people each keep
    their number of subjects, while all tasks of one data set meet the same draw.
    """
    groups: list[set[str]] = []
    for table in tables:
        group = set(table.subjects)
        touching = [other for other in groups if other & group]
        groups = [other for other in groups if other not in touching] + [group.union(*touching)]
    rng = np.random.default_rng(seed)
    counts: dict[str, np.ndarray] = {}
    for group in groups:
        drawn = rng.multinomial(len(group), np.full(len(group), 1 / len(group)), size=resamples).astype(float)
        if len(group) < FEWEST_SUBJECTS:
            drawn[:] = np.nan
        drawn = np.vstack([np.ones((1, len(group))), drawn])
        counts |= dict(zip(sorted(group), drawn.T, strict=True))
    return counts


def _seed_draws(rows: Sequence[ScoreRow], resamples: int, seed: int) -> dict[_Run, np.ndarray]:
    """The weight of each run in the mean over the seeds of its method, (1 + resamples,); the first is 1 / seeds."""
    runs = sorted({(row.method, row.seed) for row in rows})
    draws: dict[_Run, np.ndarray] = {}
    for method in dict.fromkeys(name for name, _ in runs):
        own = [run for run in runs if run[0] == method]
        n = len(own)
        # A generator per method: its draws do not depend on which other methods are compared.
        rng = np.random.default_rng([seed, *method.encode()])
        drawn = rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n
        scaled = 1 / n + (drawn - 1 / n) * np.sqrt(n / max(n - 1, 1))
        draws |= dict(zip(own, np.vstack([np.full((1, n), 1 / n), scaled]).T, strict=True))
    return draws


@dataclass(frozen=True)
class _Draws:
    """One score of one method: of each seed, (seed,), and the mean over the seeds in every draw, (1 + resamples,)."""

    seeds: np.ndarray
    mean: np.ndarray


def _scores(
    table: _TaskScores, draws: Mapping[str, np.ndarray], trainings: Mapping[_Run, np.ndarray]
) -> dict[str, dict[str, _Draws]]:
    """score -> method -> its values."""
    weights = np.stack([draws[subject] for subject in table.subjects], axis=1)  # (1 + resamples, case)
    scores: dict[str, dict[str, list[np.ndarray]]] = {}
    for k, (method, _) in enumerate(table.runs):
        columns = {name: values[k] for name, values in table.columns.items()}
        for score, value in pooled(table.kind, columns, weights).items():
            scores.setdefault(score, {}).setdefault(method, []).append(value)
    weight = {name: [trainings[run] for run in table.runs if run[0] == name] for name, _ in table.runs}
    return {
        score: {
            name: _Draws(np.array([one[0] for one in seeds]), np.sum(np.multiply(seeds, weight[name]), axis=0))
            for name, seeds in found.items()
        }
        for score, found in scores.items()
    }


def _ordered(kind: str, scores: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(sorted(scores, key=lambda score: score != MAIN[kind]))


def _finding(
    table: _TaskScores, scored: Mapping[str, Mapping[str, _Draws]], score: str, name: str, baseline: str
) -> MethodScore:
    own, other = scored[score][name], scored[score].get(baseline)
    return MethodScore(
        estimate=_estimate(own.mean),
        seeds=tuple(float(value) for value in own.seeds),
        difference=None if other is None or name == baseline else _estimate(own.mean - other.mean),
        cases=_cases(table, score, name),
    )


def _cases(table: _TaskScores, score: str, name: str) -> np.ndarray:
    """(case,), mean over the seeds; cases without the score are left out."""
    runs = [k for k, (method, _) in enumerate(table.runs) if method == name]
    columns = {column: values[runs].mean(axis=0) for column, values in table.columns.items()}
    if table.kind == "classes":
        known = np.isfinite(columns["label"])
        probabilities = np.stack([values for column, values in columns.items() if column.startswith("p ")])
        return probabilities[:, known][columns["label"][known].astype(int), np.arange(known.sum())]
    values = columns[_EACH.get(score, score)]
    return values[np.isfinite(values)]


def _method(
    name: str, baseline: str, rows: Sequence[ScoreRow], mains: Mapping[tuple[str, str], Mapping[str, _Draws]]
) -> MethodSummary:
    costs: dict[int, tuple[float, ...]] = {}
    for row in rows:
        if row.method == name:
            costs[row.seed] = (row.parameters, row.flops, row.seconds, row.step)
    delta = None
    comparable = all(
        name in scores and baseline in scores and abs(scores[baseline].mean[0]) >= FLOOR for scores in mains.values()
    )
    if name != baseline and comparable:
        changes = [
            improvement(scores[name].mean, scores[baseline].mean, higher=bool(higher_is_better(score)))
            for (_, score), scores in mains.items()
        ]
        delta = _estimate(np.mean(changes, axis=0))
    parameters, flops, seconds, steps = (float(cost) for cost in np.mean(list(costs.values()), axis=0))
    return MethodSummary(name, parameters, flops, seconds, len(costs), delta, steps)


def _estimate(values: np.ndarray) -> Estimate:
    """From (1 + resamples,), the first over everyone; draws without the score (no case of a class) are left out."""
    drawn = values[1:][np.isfinite(values[1:])]
    low, high = np.percentile(drawn, [2.5, 97.5]) if drawn.size else (np.nan, np.nan)
    return Estimate(float(values[0]), float(low), float(high))
