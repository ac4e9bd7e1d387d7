"""A small store: discs, in the units of the tasks, and their noisy partners."""

from pathlib import Path

import numpy as np

from medley.data.record import Record
from medley.data.store import Store, StoreWriter
from medley.normalisation import Normalisation
from medley.tasks import TASKS

GREY = [name for name, task in TASKS.items() if task.grey]
SHAPES = {
    "mr-sr": (3, 40, 34),
    "ct-denoise": (4, 36, 36),
    "pet-denoise": (5, 24, 30),
    **dict.fromkeys(GREY, (1, 48, 44)),
}
SCALES = {"mr-sr": (0, 900), "ct-denoise": (-1024, 100), "pet-denoise": (0, 6), **dict.fromkeys(GREY, (0, 255))}


def discs(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Three discs in each slice, in [0, 1]; (slice, row, column) float32."""
    _, rows, columns = shape
    y, x = np.mgrid[:rows, :columns]
    stack = np.zeros(shape, np.float32)
    for one in stack:
        for grey in (0.6, 0.8, 1.0):
            centre = rng.uniform(0.3, 0.7, 2) * (rows, columns)
            one[np.hypot(y - centre[0], x - centre[1]) < rng.uniform(4, 10)] = grey
    return stack


def make(path: Path) -> Store:
    """Two training and two validation subjects for each task; the last slice of `ct-denoise-valid-1` is blank."""
    writer, rng = StoreWriter(path, {"made": "for tests"}, TASKS), np.random.default_rng(0)
    for task, shape in SHAPES.items():
        low, high = SCALES[task]
        for split in ("train", "valid"):
            for person in range(2):
                good = discs(shape, rng)
                bad = good + rng.normal(0, 0.03, shape).astype(np.float32)
                target, degraded = (low + (high - low) * stack for stack in (good, bad))
                if (task, split, person) == ("ct-denoise", "valid", 1):
                    target[-1] = -1024
                record = Record(
                    id=f"{task}-{split}-{person}",
                    subject=f"{split}-{person}",
                    split=split,
                    task=task,
                    shape=shape,
                    spacing=(3.0, 1.0, 1.5),
                    normalisation=Normalisation(0, 900, clip=False)
                    if TASKS[task].scaled
                    else TASKS[task].normalisation,
                    degradation={"name": "noise", "parameters": {}},
                    source=f"{task}/{split}/{person}",
                )
                arrays = {"input": degraded, "image": target}
                writer.add(record, {name: stack[None].astype(np.float32) for name, stack in arrays.items()})
    writer.finish()
    return Store(path)
