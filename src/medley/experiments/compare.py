"""Methods against each other: same data, steps and batch, several seeds; one row a method, seed, task and case.

A comparison can be stopped at any time and started again: finished runs are kept, the one at hand goes on from its
last checkpoint.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, field_validator

import medley
from medley.data.cases import problem_of
from medley.data.store import Store
from medley.errors import MedleyError
from medley.models import weights
from medley.runtime.allocator import keep_buffers
from medley.runtime.locks import locked
from medley.scoring.networks import score_network
from medley.scoring.rows import ScoreRow, read_scores, write_scores
from medley.training.checkpoint import Checkpoints
from medley.training.loop import train
from medley.training.recipe import (
    PredictionRecipe,
    Recipe,
    RestorationRecipe,
    Strict,
    differing,
    make_recipe,
    validated,
)


class Comparison(Strict):
    """What a recipe of a comparison says.

    Attributes
    ----------
    name: of the experiment. output: folder of its runs.
    seeds: every method is trained with each.
    baseline: the method that the others are measured against; it must be one of them.
    split: the subjects that are scored.
    recipe: keys of a training recipe that all methods have; without name, output and seed.
    methods: {method: keys of a training recipe that it has besides}. The further key `separate: true` trains one run
        a task (a restorer that knows one task), and counts their parameters and seconds together.
    """

    name: str
    output: Path
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    baseline: str
    split: Literal["valid", "test"] = "valid"
    recipe: dict[str, Any]
    methods: dict[str, dict[str, Any]] = Field(min_length=1)

    @field_validator("methods")
    @classmethod
    def _own_names(cls, methods: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in methods:
            if not name or set(name) & set("/\\ "):
                raise ValueError(f"{name!r} is no name of a method: no blanks and slashes, since folders are called so")
        return methods


@dataclass(frozen=True)
class Entrant:
    """One method with one seed: its runs (several where it has a network for each task) and the file of its rows."""

    method: str
    seed: int
    recipes: tuple[Recipe, ...]
    rows: Path


Progress = Callable[[int, int, str], None]


def read_comparison(content: dict[str, Any], what: str) -> tuple[Comparison, list[Entrant]]:
    """A comparison and who takes part in it.

    Parameters
    ----------
    content: keys and values of its recipe. what: names it in messages.

    Raises
    ------
    MedleyError: an unknown key, a value that does not fit, a baseline that is no method.
    """
    comparison = validated(Comparison, content, what)
    if comparison.baseline not in comparison.methods:
        raise MedleyError(
            f"{what}: the baseline {comparison.baseline} is none of the methods {', '.join(comparison.methods)}"
        )
    return comparison, [
        _entrant(comparison, method, seed, what) for seed in comparison.seeds for method in comparison.methods
    ]


def compare(
    comparison: Comparison,
    entrants: Sequence[Entrant],
    *,
    jobs: int = 1,
    progress: Progress = lambda done, total, name: None,
) -> list[ScoreRow]:
    """Train and score all that is not there yet, and give all rows.

    Parameters
    ----------
    jobs: runs at a time, each with its share of the processor's cores; the result does not depend on it beyond
        rounding.
    progress: called with (runs finished, runs in all, the one that was).

    Raises
    ------
    MedleyError: as training and evaluation do; a finished run that belongs to another recipe.
    """
    waiting = [one for one in entrants if not _finished(one)]
    done = len(entrants) - len(waiting)
    progress(done, len(entrants), "")
    with locked(comparison.output, "comparing"):
        for name in _each_done(waiting, partial(_take_part, split=comparison.split), jobs):
            done += 1
            progress(done, len(entrants), name)
    return [row for one in entrants for row in read_scores(one.rows)[0]]


def header(comparison: Comparison, entrants: Sequence[Entrant], command: str) -> dict[str, str]:
    """What the file of the rows says of itself first: experiment, baseline, split, command, and what was asked."""
    said = {"experiment": comparison.name, "baseline": comparison.baseline, "split": comparison.split}
    problem = Store(entrants[0].recipes[0].store).manifest.problem
    asked = {"problem": problem.model_dump_json()} if problem else {}
    return {**said, "command": command, "medley": medley.__version__, **asked}


def _entrant(comparison: Comparison, method: str, seed: int, what: str) -> Entrant:
    keys = {**comparison.recipe, **comparison.methods[method], "seed": seed}
    separate = keys.pop("separate", False)
    folder = comparison.output / f"{method}-{seed}"
    rows = folder / f"scores-{comparison.split}.csv"
    whole = make_recipe({**keys, "name": method, "output": folder}, f"{what}, method {method}")
    if not separate:
        return Entrant(method, seed, (whole,), rows)
    if isinstance(whole, RestorationRecipe):
        key, tasks = "tasks", whole.tasks
    elif isinstance(whole, PredictionRecipe):
        key, tasks = "targets", whole.targets or tuple(target.name for target in problem_of(Store(whole.store)).targets)
    alone = [
        make_recipe({**keys, key: (task,), "name": f"{method}-{task}", "output": folder / task}, f"{what}, {method}")
        for task in tasks
    ]
    return Entrant(method, seed, tuple(alone), rows)


def _finished(entrant: Entrant) -> bool:
    if not entrant.rows.exists():
        return False
    for recipe in entrant.recipes:
        if differing := _differing(recipe):
            raise MedleyError(
                f"{recipe.output} holds a finished run of another recipe: {', '.join(differing)} differ; give the "
                f"comparison another output folder"
            )
    return True


def _each_done(entrants: Sequence[Entrant], work: Callable[[Entrant, int], str], jobs: int) -> Iterable[str]:
    """The names of entrants as they finish."""
    if jobs == 1:
        yield from (work(one, 0) for one in entrants)
        return
    threads = max(1, torch.get_num_threads() // jobs)
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(work, one, threads) for one in entrants]
        try:
            yield from (future.result() for future in as_completed(futures))
        except BaseException:
            _give_up(pool, futures)
            raise


def _give_up(pool: Executor, futures: Sequence[Future[str]]) -> None:
    for future in futures:
        future.cancel()
    pool.shutdown(cancel_futures=True)


def _take_part(entrant: Entrant, threads: int, *, split: str) -> str:
    """Train what is not trained, score it and write the rows; `threads` for torch, 0 leaves them."""
    if threads:
        torch.set_num_threads(threads)
        keep_buffers()
    about: dict[str, Any] = {"split": split, "method": entrant.method, "seed": entrant.seed}
    scored = [
        score_network(*weights.load(_trained(recipe)), Store(recipe.store), **about) for recipe in entrant.recipes
    ]
    costs = {name: sum(getattr(rows[0], name) for rows in scored) for name in ("parameters", "flops", "seconds")}
    whole = [replace(row, **costs) for rows in scored for row in rows]
    write_scores(whole, entrant.rows, overwrite=True)
    return f"{entrant.method}, seed {entrant.seed}"


def _differing(recipe: Recipe) -> list[str]:
    """Keys in which the recipe of the finished run differs."""
    return differing(weights.describe(weights_of(recipe)).training["recipe"], recipe)


def _trained(recipe: Recipe) -> Path:
    path = weights_of(recipe)
    if path.exists() and not _differing(recipe):
        return path
    return train(recipe, resume=Checkpoints(recipe.output).exist())


def weights_of(recipe: Recipe) -> Path:
    """The weights file that a run ends with."""
    return recipe.output / f"{recipe.name}.safetensors"
