"""The noise of a scan before and after its restoration, in the unit of its task, and at any strength between.

One estimator for all tasks: `medley.metrics.noise.FlatBlocks`, in a few slices that are spread evenly over the scan.
The result of a restoration is input + strength * (output - input), so its variance in a block is a quadratic function
of the strength, and the noise at every strength follows from one restoration of these slices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from medley.metrics.noise import FlatBlocks
from medley.metrics.physical import SOFT_TISSUE
from medley.normalisation import Normalisation
from medley.tasks import Task
from medley.volume import evenly_spread

SLICES = 9  # that are measured in a scan
FEWEST = 8  # blocks in all slices together; fewer say nothing
SIDE_MM = {"CT": 8.0, "MR": 5.0}  # of a block; noise of CT is coarser than the anatomy of soft tissue is fine
SIDES = (4, 13)  # pixels, the smallest and the largest side; the smallest for other modalities


def measured_slices(count: int) -> tuple[int, ...]:
    """The numbers of the slices in which noise is measured, of `count`: all up to nine, else nine evenly spaced."""
    return evenly_spread(count, SLICES)


def noise_unit(task: Task) -> str:
    """The unit in which the noise of scans of a task is measured.

    HU for CT. PET: percent of the mean of each block, the coefficient of variation, because noise grows with activity.
    MR and images in grey levels, which have no common scale: percent of the full scale, which is the 99.9th percentile
    of the scan for MR.
    """
    return {"CT": "HU", "PT": "% of the mean"}.get(task.modality, "% of full scale")


class NoiseCurve:
    """The noise of a scan as a function of the strength of its restoration, from slices before and after.

    Parameters
    ----------
    task, normalisation: of the restoration. spacing: (slice, row, column) of the scan in mm.

    Attributes
    ----------
    unit: of the noise, see `noise_unit`. blocks: the number of blocks measured so far.
    """

    def __init__(self, task: Task, normalisation: Normalisation, spacing: Sequence[float]) -> None:
        self.unit = noise_unit(task)
        self.blocks = 0
        self._modality = task.modality
        self._scale = {"CT": 1.0, "PT": 0.01}.get(task.modality, normalisation.high / 100)
        side = SIDE_MM.get(task.modality, 0.0) / float(np.mean(spacing[1:]))
        self._side = int(np.clip(round(side), *SIDES))
        self._slices: list[np.ndarray] = []  # (3, block) each: coefficients of the variance

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        """Measure a slice (row, column), in the unit of the scan; `after` is at full strength."""
        low, high = SOFT_TISSUE if self._modality == "CT" else (float(before.mean()), np.inf)
        blocks = FlatBlocks(before, low, high, self._side, relative=self._modality == "PT")
        if blocks.count:
            change = np.asarray(after, np.float64) - before
            pairs = ((before, before), (before, change), (change, change))
            found = np.stack([blocks.covariance(*pair) for pair in pairs])
            self._slices.append(found / blocks.median / self._scale**2)
            self.blocks += blocks.count

    def levels(self, strengths: Sequence[float] | np.ndarray) -> np.ndarray | None:
        """The noise at each strength: the median over the slices of the root of the median variance of their blocks.

        None if there are too few blocks to measure noise.
        """
        if self.blocks < FEWEST:
            return None
        s = np.asarray(strengths, np.float64)[:, None]
        found = [np.median(a + 2 * s * b + s**2 * c, axis=1) for a, b, c in self._slices]
        return np.sqrt(np.maximum(np.median(found, axis=0), 0))


def noise_of_slices(
    slices: Iterable[np.ndarray], task: Task, normalisation: Normalisation, spacing: Sequence[float]
) -> float | None:
    """The noise of a scan from some of its slices (row, column), best its `measured_slices`.

    Parameters and unit as of `NoiseCurve`; None if noise cannot be measured.
    """
    curve = NoiseCurve(task, normalisation, spacing)
    for one in slices:
        curve.add(one, one)
    found = curve.levels([0])
    return None if found is None else float(found[0])
