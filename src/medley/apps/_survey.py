"""Measures what a restoration changed while its slices are written: noise, histogram, changes, and a few slices."""

from __future__ import annotations

import numpy as np

from medley.inference.plan import RestorationPlan

SHOWN = 4  # slices kept for pictures
_PADDING_SHARE = 1e-3  # of the pixels of a slice
_BINS = 4095  # of the histogram: 1 HU each for CT, so that whole numbers are spread evenly


def noise(image: np.ndarray, within: np.ndarray) -> float:
    """Standard deviation of the noise of an image (row, column), in its unit; nan where `within` is empty.

    The median of the absolute diagonal Haar details, over 0.6745 (Donoho and Johnstone, "Ideal spatial adaptation by
    wavelet shrinkage", 1994). It measures the finest detail only: noise that a smooth kernel has blurred counts less.

    Parameters
    ----------
    within: (row // 2, column // 2) bool: the 2 x 2 blocks to measure.
    """
    a, b, c, d = _corners(image)
    detail = np.abs(a - b - c + d)[within] / 2
    return float(np.median(detail) / 0.6745) if detail.size else float("nan")


def tissue(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """The 2 x 2 blocks of an image whose mean lies between two values and which are not one flat value (padding)."""
    corners = np.stack(_corners(image))
    mean = corners.mean(axis=0)
    return (mean > low) & (mean < high) & (np.ptp(corners, axis=0) > 0)


def _corners(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    even = np.asarray(image, np.float64)[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    return even[::2, ::2], even[::2, 1::2], even[1::2, ::2], even[1::2, 1::2]


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
    tissue: the values, in the scan's unit, between which noise is estimated.
    shown: {slice number: (before, after)} for a few evenly spaced slices.
    edges, before, after: histograms of all values; the last bins hold the values beyond them too.
    outside: number of voxels outside the range of the network that keep their values. Without the padding.
    padding: number of voxels outside the range that have no measured value: scanners fill the corners of the image
        outside their field of view with one low value, such as -3024 HU.
    """

    def __init__(self, plan: RestorationPlan, *, keeps_above: bool = True) -> None:
        self.plan, self.keeps_above = plan, keeps_above
        self._highest = plan.normalisation.high if keeps_above else np.inf  # of values that are restored
        low, high = plan.normalisation.low, plan.normalisation.high
        self.tissue = plan.task.window if plan.task.modality == "CT" else (0.03 * high, 1.2 * high)
        self.edges = np.linspace(low, high if plan.normalisation.clip else 1.2 * high, _BINS + 1)
        self.before = np.zeros(_BINS, np.int64)
        self.after = np.zeros(_BINS, np.int64)
        self.shown: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.outside = self.padding = 0
        self._voxels = 0
        self._squares = 0.0
        self._noise: list[tuple[float, float]] = []
        slices = plan.before.shape[0]
        self._to_show = {int((k + 0.5) * slices / min(SHOWN, slices)) for k in range(min(SHOWN, slices))}

    def __call__(self, k: int, before: np.ndarray, after: np.ndarray) -> None:
        """Measure slice `k`, (row, column) before and after."""
        within = tissue(before, *self.tissue)
        self._noise.append((noise(before, within), noise(after, within)))
        for counts, image in ((self.before, before), (self.after, after)):
            counts += np.histogram(image.clip(self.edges[0], self.edges[-1]), self.edges)[0]
        if self.plan.normalisation.clip:
            low = self.plan.normalisation.low
            padding = _padding(before, low)
            self.padding += padding
            self.outside += int(np.count_nonzero((before < low) | (before > self._highest))) - padding
        self._voxels += before.size
        self._squares += float(np.square(after.astype(np.float64) - before).sum())
        if k in self._to_show:
            self.shown[k] = (before.copy(), after.copy())

    @property
    def noise(self) -> tuple[float, float] | None:
        """Noise before and after, in the scan's unit: the median over the slices; None where there was no tissue."""
        found = np.array(self._noise).reshape(-1, 2)
        found = found[np.isfinite(found).all(axis=1)]
        return (float(np.median(found[:, 0])), float(np.median(found[:, 1]))) if len(found) else None

    @property
    def change(self) -> float:
        """Root of the mean squared difference between before and after, over all voxels, in the scan's unit."""
        return float(np.sqrt(self._squares / max(self._voxels, 1)))
