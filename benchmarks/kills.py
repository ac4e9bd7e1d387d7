"""Kills a training at random points, continues it, and compares the final weights with those without interruption.

    python -m benchmarks.kills --points 50 -o results/kills.csv

A tiny restorer is trained on a temporary store, with a checkpoint after every step. Half of the points are random times
in the run, the other half random times in the writing of a random checkpoint; the signal is SIGKILL, which no process
can delay. After each, the run is continued as by `medley train --resume` (started again, if it has no checkpoint yet),
until it is finished; then the next run begins. The table has a line for each point: when and in which phase the process
died, the steps of the checkpoints that it left, and whether all tensors of the final weights of its run are
bit-identical to those of the uninterrupted run.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.cases import phantom
from medley.data.record import Record
from medley.data.store import StoreWriter
from medley.errors import MedleyError
from medley.models import weights
from medley.tasks import TASKS
from medley.training.checkpoint import Checkpoints, read
from medley.training.loop import train
from medley.training.recipe import RestorationRecipe

PHASES = ("outside of a checkpoint", "in a checkpoint")
COLUMNS = ("run", "kill", "point", "phase", "last", "previous", "identical")


@dataclass(frozen=True)
class Point:
    """When a process is killed: some seconds after its start, or after it begins to write its n-th checkpoint (> 0)."""

    seconds: float
    checkpoint: int = 0


class Trainer:
    """Trains in processes of their own, one after the other.

    Attributes
    ----------
    seconds: of the last run without interruption. writing: mean seconds of a checkpoint in it.
    """

    def __init__(self) -> None:
        self._context = get_context("forkserver")  # processes start within milliseconds, without torch's threads
        self._context.set_forkserver_preload(["medley.training.loop"])
        self._phase, self._spent = self._context.Value("i", 0), self._context.Array("d", 2)
        self.seconds = self.writing = 0.0

    def __call__(self, recipe: RestorationRecipe, point: Point | None = None) -> str | None:
        """Train, or continue, and die at the point: the phase in which the process died; None if it finished before.

        Raises
        ------
        RuntimeError: the process failed otherwise.
        """
        self._phase.value, self._spent[:] = 0, (0.0, 0.0)
        resumed = Checkpoints(recipe.output).exist()
        process = self._context.Process(target=_train, args=(recipe, point, self._phase, self._spent))
        process.start()
        process.join()
        if process.exitcode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"the training failed with exit code {process.exitcode}")
        if process.exitcode:
            return PHASES[self._phase.value]
        if point is None and not resumed:
            self.seconds, self.writing = self._spent[0], self._spent[1] / recipe.steps
        return None


def _train(recipe: RestorationRecipe, point: Point | None, phase: Any, spent: Any) -> None:
    torch.set_num_threads(1)
    saved = 0
    save = Checkpoints.save

    def watched(checkpoints: Checkpoints, state: dict[str, Any]) -> None:
        nonlocal saved
        saved += 1
        if point is not None and point.checkpoint == saved:
            _die_in(point.seconds)
        begun, phase.value = time.perf_counter(), 1
        save(checkpoints, state)
        phase.value = 0
        spent[1] += time.perf_counter() - begun

    Checkpoints.save = watched
    if point is not None and not point.checkpoint:
        _die_in(point.seconds)
    begun = time.perf_counter()
    train(recipe, resume=Checkpoints(recipe.output).exist())
    spent[0] = time.perf_counter() - begun


def _die_in(seconds: float) -> None:
    def die() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=die, daemon=True).start()


def make_recipe(folder: Path, steps: int) -> RestorationRecipe:
    """A tiny restorer and its store in a folder."""
    task = TASKS["ct-denoise"]
    writer = StoreWriter(folder / "store", {"made": "for a benchmark"}, {task.name: task})
    good = phantom(2, 32)
    image = np.asarray(good.data, np.float32)[None]
    for number, split in enumerate(("train", "valid")):
        record = Record(
            id=f"scan-{number}", subject=f"phantom-{number}", split=split, task=task.name, shape=good.shape,
            spacing=good.spacing, normalisation=task.normalisation,
            degradation={"name": "normal noise", "parameters": {}}, source=f"scan-{number}.nii.gz",
        )  # fmt: skip
        noise = np.random.default_rng(number).normal(0, 20, image.shape).astype(np.float32)
        writer.add(record, {"input": image + noise, "image": image})
    writer.finish()
    return RestorationRecipe(
        name="tiny", model="amir-tiny", config={"dim": 8, "blocks": (1, 1, 1, 1), "refinement": 1},
        store=folder / "store", output=folder / "whole", tasks=("ct-denoise",), steps=steps, patch=16, patches=2,
        balance="tat", ema=0.9, accelerator="cpu", checkpoint_every=1, patience=steps,
        validation={"every": 5, "slices": 1},
    )  # fmt: skip


def tensors(recipe: RestorationRecipe) -> dict[str, torch.Tensor]:
    """The final weights of a run."""
    return weights.load(recipe.output / f"{recipe.name}.safetensors")[0].state_dict()


def identical(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two networks have the same tensors, to the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def draw(rng: np.random.Generator, trainer: Trainer) -> Point:
    """A random point: in the duration of a run, or in one of the next checkpoints."""
    if rng.integers(2):
        return Point(rng.uniform(0, trainer.seconds))
    return Point(rng.uniform(0, trainer.writing), int(rng.integers(1, 5)))


def kill_and_continue(
    trainer: Trainer, recipe: RestorationRecipe, points: Callable[[], Point], count: int
) -> list[dict[str, Any]]:
    """Train, killed at most `count` times, until the run is finished: a line of the table for each kill.

    points: gives the point at which the next process is killed, unless it finishes before.
    """
    rows: list[dict[str, Any]] = []
    while True:
        point = points() if len(rows) < count else None
        phase = trainer(recipe, point)
        if phase is None or point is None:
            return rows
        left = Checkpoints(recipe.output)
        begin = f"the beginning of checkpoint {point.checkpoint}" if point.checkpoint else "the start"
        steps = {"last": _step(left.last), "previous": _step(left.previous)}
        rows.append({"point": f"{point.seconds:.4f} s after {begin}", "phase": phase, **steps})


def _step(path: Path) -> int | str:
    """The step of a checkpoint; "" if it is missing or damaged."""
    try:
        return int(read(path)["step"])
    except MedleyError:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.kills", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20, help="of each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.csv", required=True, help="is replaced")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        recipe = make_recipe(Path(folder), options.steps)
        trainer = Trainer()
        trainer(recipe)
        expected, number = tensors(recipe), 0
        while len(rows) < options.points:
            number += 1
            one = recipe.model_copy(update={"output": Path(folder) / f"run-{number}"})
            found = kill_and_continue(trainer, one, partial(draw, rng, trainer), options.points - len(rows))
            same = "yes" if identical(tensors(one), expected) else "no"
            begun = len(rows) + 1
            rows += [{"run": number, "kill": k, **row, "identical": same} for k, row in enumerate(found, begun)]
            print(f"{len(rows)} of {options.points} kills in {number} runs", file=sys.stderr)
    with options.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    inside = sum(row["phase"] == PHASES[1] for row in rows)
    same = sum(row["identical"] == "yes" for row in rows)
    print(f"{len(rows)} kills in {number} runs, {inside} of them in a checkpoint; identical weights after {same}")


if __name__ == "__main__":
    main()
