"""Measures how many patches per second a store provides: `python -m benchmarks.loader [--against results/speed.csv]`.

A temporary store of CT slices of 512 x 512 is made and read as in training, without training steps: the batches of the
restoration objective, prepared by one background thread. It is in the file cache, like any store that fits into memory.
`--against` compares the patches per second with those that the training steps in a table of `benchmarks.speed` consume;
with ten times as many, training does not wait for data.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.cases import STEPS, phantom
from medley.data.batch import batches
from medley.data.record import Record
from medley.data.store import Store, StoreWriter
from medley.tasks import TASKS
from medley.training.recipe import RestorationRecipe
from medley.training.restoration import RestorationObjective


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.loader", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--side", type=int, default=512, help="of the slices in the store")
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--patches", type=int, default=4, help="in a step")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--against", type=Path, metavar="FILE.csv", help="that benchmarks.speed wrote")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store", options.side)
        given = patches_per_second(store, options.patch, options.patches, options.seconds)
    size = f"{options.patch} x {options.patch}"
    print(f"the store provides {given:.1f} patches/s of {size} from slices of {options.side} pixels")
    for name, consumed in consumption(options.against, options.patch).items() if options.against else ():
        print(f"{name} consumes {consumed:.2f} patches/s, the store gives {given / consumed:.0f} times as many")


def make_store(path: Path, side: int, volumes: int = 4, slices: int = 16) -> Store:
    """Volumes of a CT phantom, and the same with noise."""
    task = TASKS["ct-denoise"]
    writer = StoreWriter(path, {"made": "for a benchmark"}, {task.name: task})
    good = phantom(slices, side)
    for number in range(volumes):
        record = Record(
            id=f"scan-{number}", subject=f"phantom-{number}", split="train", task=task.name, shape=good.shape,
            spacing=good.spacing, normalisation=task.normalisation,
            degradation={"name": "normal noise", "parameters": {}}, source=f"scan-{number}.nii.gz",
        )  # fmt: skip
        rng = np.random.default_rng(number)
        image = np.asarray(good.data, np.float32)[None]
        writer.add(record, {"input": image + rng.normal(0, 20, image.shape).astype(np.float32), "image": image})
    return Store(path)


def patches_per_second(store: Store, patch: int, patches: int, seconds: float) -> float:
    """Patches per second, read as in training for a number of seconds."""
    recipe = RestorationRecipe(
        name="loader", model="tat", store=store.path, output=store.path.with_name("run"), tasks=("ct-denoise",),
        steps=10**9, patch=patch, patches=patches,
    )  # fmt: skip
    steps = batches(RestorationObjective(recipe, store).batch, 0, recipe.steps)
    next(steps)  # the first opens files that stay open
    begun, taken = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < seconds:
        taken += len(next(steps).tasks)
    return taken / passed


def consumption(path: Path, patch: int) -> dict[str, float]:
    """What each training step with patches of this size in a table of `benchmarks.speed` consumes, patches a second."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["what"] in STEPS and int(row["side"]) == patch]
    return {
        f"{row['network']}, {row['what']} in {row['precision']}, {row['form']},": int(row["count"])
        / float(row["seconds"])
        for row in rows
    }


if __name__ == "__main__":
    main()
