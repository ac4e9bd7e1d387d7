"""Measures what a restoration changed while its slices are written: noise, histogram, changes, and a few slices."""

from __future__ import annotations

import numpy as np

from medley.inference.noise import NoiseCurve, measured_slices
from medley.inference.plan import RestorationPlan
from medley.volume import evenly_spread

SHOWN = 4  # slices kept for pictures
_PADDING_SHARE = 1e-3  # of the pixels of a slice
_BINS = 4095  # of the histogram: 1 HU each for CT, so that whole numbers are spread evenly


def _padding(image: np.ndarray, low: float) -> int:
    """How many pixels have the lowest value of an image, if that lies below `low` and is too frequent to be noise."""
    lowest = image.min()
    count = int(np.count_nonzero(image == lowest)) if lowest < low else 0
    return count if count > _PADDING_SHARE * image.size else 0


class Survey:
    """A callback for `Restorer.carry_out`, which calls it for every slice; its memory does not grow with their number.

    Attributes
    ----------
    plan: of the restoration.
    keeps_above: whether values above the range of the network are unchanged; False if it restores them too.
    wanted: the numbers of a few evenly spaced slices. shown: {number: (before, after)} of these.
    edges, before, after: histograms of all values; the last bins hold the values beyond them too.
    outside: number of voxels outside the range of the network that keep their values. Without the padding.
    padding: number of voxels outside the range that have no measured value: scanners fill the corners of the image
        outside their field of view with one low value, such as -3024 HU.
    """

    def __init__(self, plan: RestorationPlan, *, keeps_above: bool = True) -> None:
        self.plan, self.keeps_above = plan, keeps_above
        self._highest = plan.normalisation.high if keeps_above else np.inf  # of values that are restored
        low, high = plan.normalisation.low, plan.normalisation.high
        self.edges = np.linspace(low, high if plan.normalisation.clip else 1.2 * high, _BINS + 1)
        self.before = np.zeros(_BINS, np.int64)
        self.after = np.zeros(_BINS, np.int64)
        self.shown: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.outside = self.padding = 0
        self._voxels = 0
        self._squares = 0.0
        self._noise = NoiseCurve(plan.task, plan.normalisation, plan.before.spacing)
        slices = plan.before.shape[0]
        self._to_measure = set(measured_slices(slices))
        self.wanted = set(evenly_spread(slices, SHOWN))

    def __call__(self, k: int, before: np.ndarray, after: np.ndarray) -> None:
        """Measure slice `k`, (row, column) before and after."""
        if k in self._to_measure:
            self._noise.add(before, after)
        for counts, image in ((self.before, before), (self.after, after)):
            counts += np.histogram(image.clip(self.edges[0], self.edges[-1]), self.edges)[0]
        if self.plan.normalisation.clip:
            low = self.plan.normalisation.low
            padding = _padding(before, low)
            self.padding += padding
            self.outside += int(np.count_nonzero((before < low) | (before > self._highest))) - padding
        self._voxels += before.size
        self._squares += float(np.square(after.astype(np.float64) - before).sum())
        if k in self.wanted:
            self.shown[k] = (before.copy(), after.copy())

    @property
    def noise_unit(self) -> str:
        """The unit of `noise`."""
        return self._noise.unit

    @property
    def noise(self) -> tuple[float, float] | None:
        """Noise before and after (`medley.inference.noise`); None where it cannot be measured."""
        found = self._noise.levels([0, 1])
        return None if found is None else (float(found[0]), float(found[1]))

    @property
    def change(self) -> float:
        """Root of the mean squared difference between before and after, over all voxels, in the scan's unit."""
        return float(np.sqrt(self._squares / max(self._voxels, 1)))
