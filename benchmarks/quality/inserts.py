"""Noise above the range of a task, in a simulated insertion: metal in CT, a very hot spot in PET."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmarks.quality.checks import Case
from benchmarks.quality.measures import noise_removed
from benchmarks.quality.rows import Row
from medley.physics import create_degradation
from medley.scoring.methods import Method
from medley.tasks import task_named

SLICES, SIDE = 12, 96
SPACING = {"ct-denoise": (2.0, 2.0, 2.0), "pet-denoise": (4.0, 4.0, 4.0)}  # mm
VALUES = {"ct-denoise": (-1000.0, 40.0, 6000.0), "pet-denoise": (0.0, 3.0, 35.0)}  # of air, body and insertion
CONSISTENT = 0.5  # the share of the noise that is removed inside is at least so much of that around


class Insertion(NamedTuple):
    """A disc of tissue with a block above the range, with the noise of the papers' degradation.

    Attributes
    ----------
    noisy, clean: (slice, row, column), in the unit of the task; all slices of `clean` are the same.
    inside, around: masks (row, column) of the block and of the tissue around it, without the pixels near edges.
    """

    noisy: np.ndarray
    clean: np.ndarray
    inside: np.ndarray
    around: np.ndarray


def insertion(task: str) -> Insertion:
    """The insertion of a task: 6000 HU in soft tissue, or 35 SUV in tissue of 3 SUV."""
    air, body, above = VALUES[task]
    y, x = np.abs(np.mgrid[:SIDE, :SIDE] - SIDE / 2 + 0.5)
    radius, edge = np.hypot(y, x), np.maximum(y, x)
    one = np.where(edge < 8, above, np.where(radius < 42, body, air)).astype(np.float32)
    clean = np.repeat(one[None], SLICES, axis=0)
    kind = create_degradation(**task_named(task).degradation)
    noisy = kind.apply(clean, kind.draw(np.random.default_rng(0)), SPACING[task])
    return Insertion(noisy, clean, edge < 5, (edge > 12) & (radius < 38))


def check_insertion(task: str, method: Method, model: str) -> list[Row]:
    """The share of the noise that is removed in the insertion, which must be half of that around it."""
    made, of = insertion(task), task_named(task)
    name = f"insertion of {VALUES[task][-1]:g} {of.unit}"
    restored = Case(name, task, made.noisy, made.clean, of.normalisation, SPACING[task]).restored(method)
    inside, around = (100 * noise_removed(restored, made.noisy, mask) for mask in (made.inside, made.around))
    return [
        Row(model, f"noise removed around the insertion, {task}", name, around, "%"),
        Row(model, f"noise removed above the range, {task}", name, inside, "%", low=CONSISTENT * max(around, 0)),
    ]
