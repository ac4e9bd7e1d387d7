"""Scores of methods and networks on the records of a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from medley.data.readers import RecordReader
from medley.data.record import Record
from medley.data.store import Store
from medley.errors import MedleyError
from medley.inference.restorer import Restorer
from medley.models.cost import flops, parameters
from medley.models.weights import Description
from medley.scoring.classical import CLASSICAL, Tuned, tune
from medley.scoring.methods import ClassicalMethod, Method, Network
from medley.scoring.rows import ScoreRow
from medley.scoring.scorers import PredictionScorer, RestorationScorer, Scorer
from medley.tasks import task_named

RESTORER_INPUT = (1, 128, 128)  # shape for which the FLOPs of a restorer are counted

Progress = Callable[[int, int, str], None]  # (steps done, total number of steps, current step)


def evaluate(
    scorer: Scorer,
    store: Store,
    records: Sequence[Record],
    *,
    progress: Progress = lambda done, total, name: None,
) -> list[ScoreRow]:
    """The score rows of records, in their order.

    Parameters
    ----------
    progress: called with (steps done, number of steps, current record).

    Raises
    ------
    MedleyError: an output is not finite, or the store is damaged.
    """
    total = sum(scorer.steps(record) for record in records)
    rows, done = [], 0
    for record in records:
        title = f"{scorer.name}: {record.id}"
        progress(done, total, title)
        store.verify(record)
        rows += scorer.score(store, record, partial(_advanced, progress, done, total, title))
        done += scorer.steps(record)
    progress(done, total, scorer.name)
    return rows


def score_methods(
    methods: Sequence[Method],
    store: Store,
    *,
    split: str = "valid",
    tasks: Sequence[str] | None = None,
    progress: Progress = lambda done, total, name: None,
) -> list[ScoreRow]:
    """The scores of restoration methods on all records of a split, by the papers' protocol (`medley.metrics.image`).

    Parameters
    ----------
    tasks: the tasks to score, where a method supports them; None for all that a method supports.

    Returns
    -------
    One row per method and record, in the order of the methods, the tasks and the manifest.

    Raises
    ------
    MedleyError: as `evaluate`; the split has no record of a task, or a method supports none of the tasks.
    """
    rows = []
    for method in methods:
        chosen = _tasks(method, store, split, tasks)
        records = [record for task in chosen for record in store.records(split, task)]
        rows += evaluate(RestorationScorer(method), store, records, progress=progress)
    return rows


def score_network(
    model: nn.Module, description: Description, store: Store, *, split: str, method: str, seed: int
) -> list[ScoreRow]:
    """The scores of a trained network, a restorer or a predictor, on a split, with the cost of the network.

    Parameters
    ----------
    method, seed: the method's name and the random seed of its training, for the rows.

    Raises
    ------
    MedleyError: a restorer on a store of records with other targets, or a predictor on a store of scans to restore;
        the split contains nothing that the network can be scored on.
    """
    if bool(description.task) == store.restores:
        contents = "scans to restore" if store.restores else "records with other targets"
        outputs = ", ".join(description.tasks)
        raise MedleyError(f"{store.path} contains {contents}, but the outputs of {description.name} are {outputs}")
    if description.task:
        reader = RecordReader(store, description.tasks, description.inputs)
        shape = (reader.channels, *reader.task.grid)
        rows = evaluate(PredictionScorer(method, model, reader), store, reader.records(split))
    else:
        shape = RESTORER_INPUT
        restorer = Restorer(model, description, device=next(model.parameters()).device)
        rows = score_methods([Network(restorer)], store, split=split)
    if not rows:
        raise MedleyError(f"the split {split!r} of {store.path} contains no record to score {description.name} on")
    count, operations = parameters(model), flops(model, shape)
    training = description.training
    costs: dict[str, Any] = {"parameters": count, "flops": operations}
    costs |= {"seconds": float(training.get("seconds", 0)), "step": int(training.get("steps", 0))}
    return [replace(row, method=method, seed=seed, **costs) for row in rows]


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
    """The tasks to evaluate: the requested ones, or all of the split, as far as the method supports them."""
    there = [task for task in store.manifest.tasks if store.records(split, task)]
    for task in requested or ():
        if task_named(task).name not in there:
            raise MedleyError(f"the split {split!r} of {store.path} has no record of {task}")
    wanted = there if requested is None else list(requested)
    chosen = [task for task in wanted if task in method.tasks]
    if not chosen:
        raise MedleyError(
            f"{method.name} supports {', '.join(method.tasks)}, but not what is to be scored: "
            f"{', '.join(wanted) or 'no record'} of the split {split!r} of {store.path}"
        )
    return chosen


def _advanced(progress: Progress, before: int, total: int, title: str, steps: int) -> None:
    progress(before + steps, total, title)


def _with_title(progress: Progress, title: str, done: int, total: int) -> None:
    progress(done, total, title)
