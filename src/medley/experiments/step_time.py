"""Measured time of a training step, for comparisons in which every method is trained for the same time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from pydantic import BaseModel, TypeAdapter, ValidationError

from medley.data.batch import batches
from medley.errors import MedleyError
from medley.runtime.atomic import replacing
from medley.training.recipe import Recipe, as_record, differing
from medley.training.run import Run

NAME = "step-seconds.json"  # the file in the output folder of a comparison
ROUNDS, WARM_UP, STEPS = 3, 2, 8


class Measured(BaseModel):
    """The measured time of a method.

    Attributes
    ----------
    seconds: of one step of each of its networks, in total. recipe: of the first of them, to recognise a change.
    """

    seconds: float
    recipe: dict[str, Any]


_FILE = TypeAdapter(dict[str, Measured])


def step_seconds(methods: Mapping[str, Sequence[Recipe]], folder: Path, *, threads: int = 0) -> dict[str, float]:
    """The seconds that each method needs for one training step of each of its networks.

    They are measured once and kept in FOLDER/step-seconds.json, so that a comparison that is continued has the same
    numbers of steps; a method that is new or has another recipe is measured then. The median of three rounds, in which
    the methods take turns, so that a change in the load of the machine affects all of them.

    Parameters
    ----------
    methods: the recipes of each method. threads: number of torch's threads while measuring; 0: unchanged.

    Raises
    ------
    MedleyError: the file is damaged; errors of training.
    """
    path = folder / NAME
    known = _read(path) if path.exists() else {}
    missing = {
        name: recipes
        for name, recipes in methods.items()
        if name not in known or differing(known[name].recipe, recipes[0])
    }
    if missing:
        with _threads(threads):
            rounds = [
                {name: sum(map(seconds_per_step, recipes)) for name, recipes in missing.items()} for _ in range(ROUNDS)
            ]
        for name, recipes in missing.items():
            seconds = median(one[name] for one in rounds)
            known[name] = Measured(seconds=seconds, recipe=as_record(recipes[0]))
        with replacing(path, overwrite=True) as temporary:
            temporary.write_bytes(_FILE.dump_json(known, indent=1))
    return {name: known[name].seconds for name in methods}


def seconds_per_step(recipe: Recipe) -> float:
    """The mean time of a few training steps, with the time that they wait for their batches; nothing is written.

    Raises
    ------
    MedleyError: training is on several devices; errors of training.
    """
    if recipe.devices > 1:
        raise MedleyError("the time of a step is measured on one device only; set devices to 1")
    run = Run.on_one_device(recipe)
    ends = [time.perf_counter()]
    for batch in batches(run.objective.batch, 0, WARM_UP + STEPS):
        run.advance(batch)
        ends.append(time.perf_counter())
    return mean(after - before for before, after in zip(ends[WARM_UP:], ends[WARM_UP + 1 :], strict=False))


def _read(path: Path) -> dict[str, Measured]:
    try:
        return _FILE.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise MedleyError(f"{path}: is damaged; remove it to measure the time of a step again") from error


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
