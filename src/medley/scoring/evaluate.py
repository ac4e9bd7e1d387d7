"""Scores of restoration methods on a store; volumes are read, restored and scored a few slices at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from medley.data.store import Entry, Store
from medley.errors import MedleyError
from medley.metrics.image import METRICS, score_slices
from medley.scoring.classical import CLASSICAL, Tuned, tune
from medley.scoring.methods import ClassicalMethod, Method
from medley.scoring.rows import IMAGE, ScoreRow
from medley.tasks import TASKS, task_named

PIXELS_AT_ONCE = 2**20  # a chunk holds at most this many pixels, or one slice

Progress = Callable[[int, int, str], None]  # (steps done, total number of steps, current step)


def evaluate(
    method: Method,
    store: Store,
    *,
    split: str = "valid",
    tasks: Sequence[str] | None = None,
    progress: Progress = lambda done, total, name: None,
) -> list[ScoreRow]:
    """The scores of a method on every volume of a split, by the papers' protocol (`medley.metrics.image`).

    Parameters
    ----------
    tasks: the tasks to score; None for all that the method supports and the split contains.
    progress: called with (slices done, number of slices, current volume).

    Returns
    -------
    One row per volume, in the order of the tasks and of the manifest.

    Raises
    ------
    MedleyError: the split has no volume of these tasks, the method does not support one, its output is not
        finite, or the store is damaged.
    """
    entries = [entry for task in _tasks(method, store, split, tasks) for entry in store.entries(split, task)]
    total = sum(entry.shape[0] for entry in entries)
    rows, done = [], 0
    for entry in entries:
        store.verify(entry)
        scores = []
        for slices in _chunks(entry):
            progress(done, total, f"{method.name}: {entry.id}")
            scores.append(_score(method, store, entry, slices))
            done += slices.stop - slices.start
        rows.append(_row(method, entry, split, {name: np.concatenate([s[name] for s in scores]) for name in scores[0]}))
    progress(done, total, method.name)
    return rows


def compare(
    methods: Sequence[Method],
    store: Store,
    *,
    split: str = "valid",
    tasks: Sequence[str] | None = None,
    progress: Progress = lambda done, total, name: None,
) -> list[ScoreRow]:
    """`evaluate` for several methods, each on those of `tasks` (None: all of the split) that it supports.

    Raises
    ------
    MedleyError: as `evaluate`; a method supports none of the tasks.
    """
    rows = []
    for method in methods:
        able = [task for task in tasks if task in method.tasks] if tasks is not None else None
        if able == []:
            raise MedleyError(
                f"{method.name} supports none of {', '.join(tasks or ())}, only {', '.join(method.tasks)}"
            )
        rows += evaluate(method, store, split=split, tasks=able, progress=progress)
    return rows


def tuned_classical(
    store: Store,
    tasks: Sequence[str],
    *,
    slices: int = 24,
    seed: int = 0,
    progress: Progress = lambda done, total, name: None,
) -> list[ClassicalMethod]:
    """Every classical method, tuned for each task on `slices` training slices drawn with `seed`."""

    def tuned(name: str, task: str) -> Tuned:
        title = f"tuning {name}: {task}"
        report = partial(_with_title, progress, title)
        return tune(store, task, name, slices=slices, seed=seed, progress=report)

    return [ClassicalMethod([tuned(name, task) for task in tasks]) for name in CLASSICAL]


def _tasks(method: Method, store: Store, split: str, requested: Sequence[str] | None) -> list[str]:
    """The tasks to evaluate: the requested ones, or all that the method supports and the split contains."""
    there = [task for task in TASKS if store.entries(split, task)]
    if requested is None:
        chosen = [task for task in there if task in method.tasks]
        if not chosen:
            found = ", ".join(there) or "no volumes"
            raise MedleyError(
                f"the split {split!r} of {store.path} contains {found}, "
                f"but {method.name} supports {', '.join(method.tasks)}"
            )
        return chosen
    for task in requested:
        if task_named(task).name not in there:
            raise MedleyError(f"the split {split!r} of {store.path} has no volume of {task}")
        if task not in method.tasks:
            raise MedleyError(f"{method.name} does not support {task}, only {', '.join(method.tasks)}")
    return list(requested)


def _chunks(entry: Entry) -> Iterator[slice]:
    """Ranges of slices that are processed together."""
    count, rows, columns = entry.shape
    step = max(1, PIXELS_AT_ONCE // (rows * columns))
    return (slice(first, min(first + step, count)) for first in range(0, count, step))


def _score(method: Method, store: Store, entry: Entry, slices: slice) -> dict[str, np.ndarray]:
    before, target = (np.asarray(array[slices]) for array in (store.input(entry), store.target(entry)))
    restored = method.restore(before, entry.task, entry.normalisation)
    if not np.isfinite(restored).all():
        raise MedleyError(f"the output of {method.name} for {entry.id} contains values that are not finite")
    return score_slices(restored, target, entry.task, full_scale=entry.normalisation.high)


def _row(method: Method, entry: Entry, split: str, scores: dict[str, np.ndarray]) -> ScoreRow:
    kept = ~scores["blank"]
    means = {name: float(scores[name][kept].mean()) if kept.any() else float("nan") for name in METRICS}
    return ScoreRow(
        method=method.name,
        task=entry.task,
        target=IMAGE,
        subject=entry.subject,
        record=entry.id,
        split=split,
        values={"slices": int(kept.sum()), **means},
        window=_window(entry),
        settings=method.settings(entry.task),
    )


def _window(entry: Entry) -> str:
    task = task_named(entry.task)
    low, high = task.window
    scale = f" of {entry.normalisation.high:.6g} {task.unit} = {task.range[1]:g}" if task.scaled else f" {task.unit}"
    return f"[{low:g}, {high:g}]{scale}"


def _with_title(progress: Progress, title: str, done: int, total: int) -> None:
    progress(done, total, title)
