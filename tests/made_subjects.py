"""Stores of many small subjects, which a description of training scans needs; the fixture `subjects` is this module."""

from pathlib import Path

import numpy as np

from medley.data.record import Record
from medley.data.store import Store, StoreWriter
from medley.tasks import TASKS, Task

SPACING = (3.0, 0.8, 0.8)


def ct(seed: int, shape: tuple[int, int, int] = (5, 40, 40)) -> np.ndarray:
    """A cylinder of 40 HU in air, with noise of 10 to 30 HU; (slice, row, column) float32."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[: shape[1], : shape[2]] - (shape[1] - 1) / 2
    cylinder = np.where(np.hypot(row, column) < rng.uniform(0.3, 0.45) * shape[1], 40.0, -1000.0)
    return (cylinder + rng.normal(0, rng.uniform(10, 30), shape)).astype(np.float32)


def body(seed: int, side: int = 16) -> np.ndarray:
    """The CT of an ellipsoid with a hole of air, whose size and tissue differ with the seed; (1, side, side, side)."""
    rng = np.random.default_rng(seed)
    places = np.mgrid[:side, :side, :side] - (side - 1) / 2
    radius = np.sqrt(sum((axis / (side * rng.uniform(0.32, 0.42))) ** 2 for axis in places))
    hu = np.where(radius < 1, rng.normal(30, 60, radius.shape), -1000.0)
    hu[radius < rng.uniform(0.2, 0.4)] = -900
    return hu[None].astype(np.int16)


def skin(seed: int, side: int = 32) -> np.ndarray:
    """A dark spot on brighter skin, with noise; (3, side, side) uint8."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:side, :side] - (side - 1) / 2
    spot = np.hypot(row, column) < side * rng.uniform(0.15, 0.35)
    colours = np.where(spot[None], np.array([90, 50, 40])[:, None, None], np.array([220, 180, 160])[:, None, None])
    return (colours + rng.normal(0, 6, (3, side, side)) + rng.uniform(-15, 15)).clip(0, 255).astype(np.uint8)


def restoration(path: Path, count: int = 10, valid: int = 2, noise: float = 0.0) -> Store:
    """CT scans to restore, each of another subject, and some more for validation.

    noise: that of the inputs is 1 to 3 times this, in HU.
    """
    task = TASKS["ct-denoise"]
    writer = StoreWriter(path, {"made": "for tests"}, {task.name: task})
    for k in range(count + valid):
        values = ct(k)[None]
        added = noise * (1 + 2 * (k % 5) / 4) * np.random.default_rng(100 + k).standard_normal(values.shape)
        inputs = (values + added).astype(np.float32)
        writer.add(_record(task, k, k < count, values, SPACING), {"input": inputs, "image": values})
    writer.finish()
    return Store(path)


def prediction(path: Path, task: Task, count: int = 12) -> Store:
    """Bodies or photographs without targets, each of another subject, and two more for validation."""
    writer = StoreWriter(path, {"made": "for tests"}, {task.name: task})
    for k in range(count + 2):
        values = body(k, task.grid[0]) if task.modality else skin(k, task.grid[0])
        writer.add(_record(task, k, k < count, values, task.spacing), {"input": values})
    writer.finish()
    return Store(path)


def _record(task: Task, k: int, train: bool, values: np.ndarray, spacing: tuple[float, ...]) -> Record:
    degradation = {"name": "none", "parameters": {}} if task.restores else {}
    return Record(
        id=f"scan-{k}", subject=f"person-{k}", split="train" if train else "valid", task=task.name,
        shape=values.shape[1:], spacing=spacing, normalisation=task.normalisation, degradation=degradation,
    )  # fmt: skip
