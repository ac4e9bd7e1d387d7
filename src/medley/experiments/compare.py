"""Comparisons of methods: training and scoring of every method with every random seed on the same data.

A comparison can be stopped at any time and started again: finished runs are kept, and interrupted ones continue from
their last checkpoint. A finished run with damaged files is done again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any, Literal
from warnings import warn

import torch
from pydantic import Field, field_validator, model_validator

import medley
from medley.data.store import Store
from medley.errors import MedleyError, MedleyNotice
from medley.experiments.step_time import step_seconds
from medley.models import weights
from medley.runtime.allocator import keep_buffers
from medley.runtime.configuration import Strict
from medley.runtime.locks import locked
from medley.runtime.names import check_name
from medley.runtime.plugins import load_plugins
from medley.scoring.evaluate import score_network
from medley.scoring.rows import ScoreRow, read_scores, write_scores
from medley.training.checkpoint import Checkpoints
from medley.training.loop import train
from medley.training.recipe import PredictionRecipe, Recipe, RestorationRecipe, differing, make_recipe, validated


class Comparison(Strict):
    """The recipe of a comparison.

    Attributes
    ----------
    name: name of the experiment. output: folder of its runs. plugins: as in a training recipe, of all methods.
    seeds: random seeds; every method is trained with each.
    baseline: the method, one of `methods`, that the others are compared with.
    split: the subjects that are scored.
    equal: what all methods have in common. "steps": the number of training steps. "time": the baseline has the steps of
        its recipe, and the others as many as take the same time, by the measured time of a step (see
        `medley.experiments.step_time`).
    recipe: keys of a training recipe that apply to all methods; without name, output and seed.
    methods: {method: further keys of its training recipe}. Two keys are additional. `separate: true` trains one network
        per task or target and adds up their costs. `like: METHOD` takes the keys of another method, so that only what
        differs is given; groups of keys, such as config, are merged. Reports show such variants beside that method.
    """

    name: str
    output: Path
    plugins: tuple[Path, ...] = ()
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    baseline: str
    split: Literal["valid", "test"] = "valid"
    equal: Literal["steps", "time"] = "steps"
    recipe: dict[str, Any]
    methods: dict[str, dict[str, Any]] = Field(min_length=1)

    @field_validator("methods")
    @classmethod
    def _own_names(cls, methods: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in methods:
            try:
                check_name(name, "the method")
            except MedleyError as error:
                raise ValueError(str(error)) from error
        return methods

    @model_validator(mode="after")
    def _plugins_of_all(self) -> Comparison:
        if named := [name for name, keys in {"recipe": self.recipe, **self.methods}.items() if "plugins" in keys]:
            raise ValueError(f"{named[0]} has plugins; name them beside `methods`, since they are of all methods")
        return self

    @field_validator("methods")
    @classmethod
    def _like_others(cls, methods: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, keys in methods.items():
            if "like" in keys and "like" in methods.get(str(keys["like"]), {"like": ""}):
                known = ", ".join(one for one, others in methods.items() if "like" not in others)
                raise ValueError(f"{name} is like {keys['like']}; expected a method without like, one of {known}")
        return methods

    @property
    def variants(self) -> dict[str, str]:
        """{method: the method that it is like}."""
        return {name: str(keys["like"]) for name, keys in self.methods.items() if "like" in keys}

    def keys_of(self, method: str) -> dict[str, Any]:
        """All keys of a method, with those of `recipe` and of the method that it is like."""
        own = dict(self.methods[method])
        base = self.methods[str(own.pop("like"))] if "like" in own else {}
        merged = {
            key: {**base[key], **value} if isinstance(value, dict) and isinstance(base.get(key), dict) else value
            for key, value in own.items()
        }
        return {**self.recipe, **base, **merged, "plugins": self.plugins}


@dataclass(frozen=True)
class Entrant:
    """One method with one seed: its training runs (one per network) and the file of its score rows."""

    method: str
    seed: int
    recipes: tuple[Recipe, ...]
    rows: Path


Progress = Callable[[int, int, str], None]


def read_comparison(content: dict[str, Any], what: str) -> tuple[Comparison, list[Entrant]]:
    """A comparison, and every method with every seed.

    Parameters
    ----------
    content: keys and values of the recipe. what: how messages refer to it.

    Raises
    ------
    MedleyError: an unknown key, an invalid value, or a baseline that is not one of the methods.
    """
    comparison = validated(Comparison, content, what)
    if comparison.baseline not in comparison.methods:
        raise MedleyError(
            f"{what}: the baseline {comparison.baseline} is not one of the methods {', '.join(comparison.methods)}"
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
    """Train and score what is not finished yet, and return all rows.

    Parameters
    ----------
    jobs: number of runs at the same time, each with its share of the processor's cores; the result does not depend on
        it beyond rounding. The processes end when this one is killed.
    progress: called with (finished runs, number of runs, the last finished run).

    Raises
    ------
    MedleyError: a store has no records to train or score on; errors of training and scoring; a finished run has another
        recipe.

    Warns
    -----
    MedleyNotice: files of a finished run are damaged, so that it is done again.
    """
    for recipe in (one for entrant in entrants for one in entrant.recipes):
        _check_splits(recipe, comparison.split)
    with locked(comparison.output, "comparing"):
        if comparison.equal == "time":
            entrants = _with_equal_time(comparison, entrants, jobs)
        waiting = [one for one in entrants if not _finished(one)]
        done = len(entrants) - len(waiting)
        progress(done, len(entrants), "")
        for name in _each_done(waiting, partial(_take_part, split=comparison.split), jobs):
            done += 1
            progress(done, len(entrants), name)
    return [row for one in entrants for row in read_scores(one.rows)[0]]


def header(comparison: Comparison, entrants: Sequence[Entrant], command: str) -> dict[str, str]:
    """Header of the file of score rows: experiment, baseline, split, what is equal, command, version, and what
    `medley.experiments.report` needs: variants, and the task of predictions.
    """
    about = {"experiment": comparison.name, "baseline": comparison.baseline, "split": comparison.split}
    store = Store(entrants[0].recipes[0].store)
    about |= {"equal": comparison.equal, "command": command, "medley": medley.__version__}
    if comparison.variants:
        about["variants"] = json.dumps(comparison.variants)
    return about if store.restores else {**about, "task": store.prediction_task().model_dump_json()}


def _check_splits(recipe: Recipe, split: str) -> None:
    """Refuse a store without records to train or score on, before hours of training."""
    store = Store(recipe.store)
    tasks = recipe.tasks if isinstance(recipe, RestorationRecipe) else (store.prediction_task().name,)
    for task in tasks:
        for one in ("train", split):
            if not store.records(one, task):
                raise MedleyError(f"{store.path}: the split {one!r} has no record of {task}")


def _entrant(comparison: Comparison, method: str, seed: int, what: str) -> Entrant:
    keys = {**comparison.keys_of(method), "seed": seed}
    separate = keys.pop("separate", False)
    folder = comparison.output / f"{method}-{seed}"
    rows = folder / f"scores-{comparison.split}.csv"
    whole = make_recipe({**keys, "name": method, "output": folder}, f"{what}, method {method}")
    if not separate:
        return Entrant(method, seed, (whole,), rows)
    if isinstance(whole, RestorationRecipe):
        key, tasks = "tasks", whole.tasks
    elif isinstance(whole, PredictionRecipe):
        key, tasks = (
            "targets",
            whole.targets or tuple(target.name for target in Store(whole.store).prediction_task().targets),
        )
    alone = [
        make_recipe({**keys, key: (task,), "name": f"{method}-{task}", "output": folder / task}, f"{what}, {method}")
        for task in tasks
    ]
    return Entrant(method, seed, tuple(alone), rows)


def _with_equal_time(comparison: Comparison, entrants: Sequence[Entrant], jobs: int) -> list[Entrant]:
    """The entrants, with the steps that they can take in the time that the baseline takes for its steps."""
    recipes = {one.method: one.recipes for one in entrants if one.seed == comparison.seeds[0]}
    seconds = step_seconds(recipes, comparison.output, threads=_threads(jobs))
    budget = recipes[comparison.baseline][0].steps * seconds[comparison.baseline]

    def within(entrant: Entrant) -> Entrant:
        steps = max(1, round(budget / seconds[entrant.method]))
        return replace(entrant, recipes=tuple(one.model_copy(update={"steps": steps}) for one in entrant.recipes))

    return [within(one) for one in entrants]


def _finished(entrant: Entrant) -> bool:
    """Whether all weights and scores are complete; damaged files are removed, so that their run is done again."""
    if not entrant.rows.exists():
        return False
    complete = _readable(entrant.rows, read_scores)
    for recipe in entrant.recipes:
        path = weights_of(recipe)
        if not path.exists() or not _readable(path, weights.load):
            complete = False
        elif different := _differing(recipe):
            raise MedleyError(
                f"{recipe.output} contains a finished run of another recipe: {', '.join(different)} differ; choose "
                f"another output folder for the comparison"
            )
    if not complete:
        entrant.rows.unlink(missing_ok=True)
    return complete


def _readable(path: Path, read: Callable[[Path], object]) -> bool:
    try:
        read(path)
    except MedleyError as error:
        warn(MedleyNotice(f"{error}; this part of the comparison is done again"), stacklevel=2)
        path.unlink(missing_ok=True)
        return False
    return True


def _each_done(entrants: Sequence[Entrant], work: Callable[[Entrant, int], str], jobs: int) -> Iterable[str]:
    """The names of the runs as they finish."""
    if jobs == 1:
        yield from (work(one, 0) for one in entrants)
        return
    threads = _threads(jobs)
    spawn = multiprocessing.get_context("spawn")
    # The system closes our end of the pipe however this process ends; see _end_with_parent.
    watched, ours = spawn.Pipe(duplex=False)
    with ours, watched, ProcessPoolExecutor(jobs, spawn, _end_with_parent, (watched,)) as pool:
        futures = [pool.submit(work, one, threads) for one in entrants]
        try:
            yield from (future.result() for future in as_completed(futures))
        except BaseException:
            _give_up(pool, futures)
            raise


def _threads(jobs: int) -> int:
    """Of torch, for each of several runs at the same time; 0, unchanged, for a single one."""
    return max(1, torch.get_num_threads() // jobs) if jobs > 1 else 0


def _end_with_parent(watched: Connection) -> None:
    """In a worker process: exit as soon as the process that started it has ended, also by SIGKILL."""

    def wait_for_the_end() -> None:
        with suppress(EOFError, OSError):
            watched.recv()
        os._exit(1)

    Thread(target=wait_for_the_end, daemon=True).start()


def _give_up(pool: Executor, futures: Sequence[Future[str]]) -> None:
    for future in futures:
        future.cancel()
    pool.shutdown(cancel_futures=True)


def _take_part(entrant: Entrant, threads: int, *, split: str) -> str:
    """Train the networks that are not trained yet, score them and write the rows. `threads`: of torch; 0: unchanged."""
    load_plugins(entrant.recipes[0].plugins)  # this may be a new process
    if threads:
        torch.set_num_threads(threads)
        keep_buffers()
    about: dict[str, Any] = {"split": split, "method": entrant.method, "seed": entrant.seed}
    scored = [
        score_network(*weights.load(_trained(recipe)), Store(recipe.store), **about) for recipe in entrant.recipes
    ]
    names = ("parameters", "flops", "seconds", "step")
    costs = {name: sum(getattr(rows[0], name) for rows in scored) for name in names}
    if isinstance(entrant.recipes[0], RestorationRecipe):  # a slice goes through one network, that of its task
        costs["flops"] = max(rows[0].flops for rows in scored)
    whole = [replace(row, **costs) for rows in scored for row in rows]
    write_scores(whole, entrant.rows, overwrite=True)
    return f"{entrant.method}, seed {entrant.seed}"


def _differing(recipe: Recipe) -> list[str]:
    """Keys in which the recipe of the finished run differs."""
    return differing(weights.describe(weights_of(recipe)).training["recipe"], recipe)


def _trained(recipe: Recipe) -> Path:
    path = weights_of(recipe)
    if path.exists() and _readable(path, weights.load) and not _differing(recipe):
        return path
    return train(recipe, resume=Checkpoints(recipe.output).exist())


def weights_of(recipe: Recipe) -> Path:
    """The weights file that a run writes at its end."""
    return recipe.output / f"{recipe.name}.safetensors"


def weights_of_first_seed(comparison: Comparison, entrants: Sequence[Entrant]) -> dict[str, list[Path]]:
    """The weights files of every method, trained with the first random seed."""
    return {
        entrant.method: [weights_of(recipe) for recipe in entrant.recipes]
        for entrant in entrants
        if entrant.seed == comparison.seeds[0]
    }
