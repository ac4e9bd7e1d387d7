"""Noise, bias, sharpness and uptake of a restored scan, in regions of its target; values are not clipped to a window.

Where to measure is decided by the target alone, so all methods are measured in the same places:

* CT: homogeneous blocks of soft tissue (`homogeneous`), and edges of moderate contrast;
* MR: edges of moderate contrast;
* PET: the object, and hot spots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from scipy import ndimage

from medley.tasks import Task

SOFT_TISSUE = (-100.0, 150.0)  # HU
HOMOGENEOUS = 40.0  # HU, the largest standard deviation in a homogeneous block
SIDES = (9, 5)  # pixels, of blocks where pixels are smaller and larger than
COARSE = 2.0  # mm
HOT, SMALLEST = 3.0, 4  # SUV, voxels, of hot spots: connected regions above, of at least so many
OBJECT, AROUND = 0.2, 5  # SUV, pixels: the mean of a square of so many pixels is above it in the object
EDGES = {"CT": (50.0, 200.0), "MR": (200.0, 1000.0)}  # HU and 1/4095 of the range, a pixel: slopes of the edges
FEWEST_EDGES = 100  # pixels


class Measurement(Protocol):
    """Measures a restored scan, of which it gets a few slices at a time."""

    def add(self, restored: np.ndarray, target: np.ndarray, indices: Sequence[int]) -> None:
        """Slices (slice, row, column) in the unit of the scan, and their numbers in it."""
        ...

    def values(self) -> dict[str, float]:
        """The measures of all slices so far, by the names of `measures.RECORD`, as far as they are defined."""
        ...


def measurements(task: Task, spacing: Sequence[float], full_scale: float) -> list[Measurement]:
    """What is measured in a restored scan of a task; nothing for grey levels.

    Parameters
    ----------
    spacing: mm along (slice, row, column). full_scale: as in `metrics.image.score`.
    """
    found: list[Measurement] = []
    if task.modality == "CT":
        found.append(Tissue(spacing))
    if task.modality == "PT":
        found.append(Uptake())
    if task.modality in EDGES:
        low, high = (slope / task.factor(full_scale) for slope in EDGES[task.modality])
        found.append(Edges(low, high))
    return found


class Tissue:
    """Noise and bias in the homogeneous blocks of a CT (`homogeneous`), in HU.

    `noise` is the root of the mean variance within the blocks, `noise_ratio` that of the restored scan / that of the
    target, `bias` the mean of restored - target. The noise of the target is a tenth too low, since its most
    homogeneous blocks are chosen. Where pixels are larger than 2 mm, no noise is given: most of the variance there is
    anatomy.
    """

    def __init__(self, spacing: Sequence[float]) -> None:
        self._spacing = spacing
        self._blocks, self._sums = 0, np.zeros(3)

    def add(self, restored: np.ndarray, target: np.ndarray, indices: Sequence[int]) -> None:
        """See `Measurement`."""
        wanted = blocks(target, self._spacing)
        chosen = homogeneous(wanted)
        wanted, found = wanted[chosen], blocks(restored, self._spacing)[chosen]
        self._blocks += len(wanted)
        self._sums += found.var(axis=1).sum(), wanted.var(axis=1).sum(), (found - wanted).mean(axis=1).sum()

    def values(self) -> dict[str, float]:
        """`noise`, `noise_ratio`, `bias`."""
        if not self._blocks:
            return {}
        after, wanted, bias = self._sums / self._blocks
        if is_coarse(self._spacing):
            return {"bias": float(bias)}
        ratio = {"noise_ratio": float(np.sqrt(after / wanted))} if wanted else {}
        return {"noise": float(np.sqrt(after)), **ratio, "bias": float(bias)}


class Edges:
    """Sharpness of edges relative to the target: 1 where their slopes are those of the target, less where blurred.

    It is the regression of the slopes (gradients of a Gaussian of 1 pixel) of the restored scan on those of the target,
    sum(r . t) / sum(t . t), over the pixels where the slope of the target is between two limits and greatest across the
    edge. So noise that is not in the target changes it by chance only, and noise of the target lowers it a little
    where it was removed. A blur of s pixels makes 1 / sqrt(1 + s^2) of a sharp edge.

    Parameters
    ----------
    low, high: limits of the slope, in the unit of the scan a pixel.
    """

    def __init__(self, low: float, high: float) -> None:
        self._limits = low, high
        self._pixels, self._sums = 0, np.zeros(2)

    def add(self, restored: np.ndarray, target: np.ndarray, indices: Sequence[int]) -> None:
        """See `Measurement`."""
        for one, wanted in zip(restored, target, strict=True):
            slopes = _slopes(wanted)
            where = _ridges(slopes, *self._limits)
            if where.any():
                after, before = _slopes(one)[:, where], slopes[:, where]
                self._pixels += int(where.sum())
                self._sums += (after * before).sum(dtype=np.float64), (before * before).sum(dtype=np.float64)

    def values(self) -> dict[str, float]:
        """`sharpness`."""
        return {"sharpness": float(self._sums[0] / self._sums[1])} if self._pixels >= FEWEST_EDGES else {}


class Uptake:
    """Bias of the SUV in the object, and recovery of hot spots, relative to the target.

    `suv_bias` is the change of the mean SUV in percent, where the mean of 5 x 5 pixels of the target is above SUV 0.2.
    `recovery_max` and `recovery_mean` are SUVmax and SUVmean restored / target, means over the hot spots
    (`hot_spot_ratios`).
    """

    def __init__(self) -> None:
        self._sums = np.zeros(2)
        self._places, self._values = [np.empty((3, 0), int)], [np.empty((2, 0))]

    def add(self, restored: np.ndarray, target: np.ndarray, indices: Sequence[int]) -> None:
        """See `Measurement`."""
        inside = ndimage.uniform_filter(target, (0, AROUND, AROUND)) > OBJECT
        self._sums += [one[inside].sum(dtype=np.float64) for one in (restored, target)]
        k, *in_plane = np.nonzero(target > HOT)
        self._places.append(np.stack([np.asarray(indices)[k], *in_plane]))
        self._values.append(np.stack([one[k, *in_plane] for one in (restored, target)]))

    def values(self) -> dict[str, float]:
        """`suv_bias`, `recovery_max`, `recovery_mean`."""
        after, wanted = self._sums
        found = {"suv_bias": 100 * float(after / wanted - 1)} if wanted else {}
        ratios = hot_spot_ratios(np.concatenate(self._places, axis=1), *np.concatenate(self._values, axis=1))
        if ratios.size:
            found |= dict(zip(("recovery_max", "recovery_mean"), map(float, ratios.mean(axis=1)), strict=True))
        return found


def hot_spot_ratios(places: np.ndarray, restored: np.ndarray, target: np.ndarray) -> np.ndarray:
    """SUVmax and SUVmean restored / target, (2, hot spot), of hot spots: 4 or more voxels above SUV 3 that touch.

    Parameters
    ----------
    places: (slice, row, column) of every voxel above SUV 3, (3, voxel). restored, target: their values, (voxel,).
    """
    if not places.size:
        return np.empty((2, 0))
    corner = places.min(axis=1, keepdims=True)
    hot = np.zeros(np.ptp(places, axis=1) + 1, bool)
    hot[tuple(places - corner)] = True
    regions, _ = ndimage.label(hot)
    region = regions[tuple(places - corner)]
    large = np.flatnonzero(np.bincount(region) >= SMALLEST)
    if not large.size:
        return np.empty((2, 0))
    return np.stack([
        np.divide(*(measure(one, region, large) for one in (restored, target)))
        for measure in (ndimage.maximum, ndimage.mean)
    ])  # fmt: skip


def is_coarse(spacing: Sequence[float]) -> bool:
    """Whether the pixels of (slice, row, column) spacing in mm are larger than 2 mm."""
    return float(np.mean(spacing[1:])) > COARSE


def blocks(values: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """(slice, row, column) -> (slice, block, pixels of a block), float64; pixels beyond whole blocks are left out.

    Blocks are 9 x 9 pixels, 5 x 5 where pixels are larger than 2 mm.
    """
    side = SIDES[is_coarse(spacing)]
    count, rows, columns = values.shape[0], *(length // side for length in values.shape[1:])
    whole = values[:, : rows * side, : columns * side].astype(np.float64)
    cut = whole.reshape(count, rows, side, columns, side).swapaxes(2, 3)
    return cut.reshape(count, rows * columns, side * side)


def homogeneous(blocks: np.ndarray) -> np.ndarray:
    """Which blocks (slice, block, pixel) of a CT are homogeneous soft tissue, (slice, block) bool.

    Their mean is -100 to 150 HU, and their standard deviation is at most 40 HU and in the lowest quarter of the
    soft-tissue blocks of the slice.
    """
    mean, deviation = blocks.mean(axis=2), blocks.std(axis=2)
    soft = (mean > SOFT_TISSUE[0]) & (mean < SOFT_TISSUE[1])
    most = [np.quantile(one[of], 0.25) if of.any() else 0.0 for one, of in zip(deviation, soft, strict=True)]
    return soft & (deviation <= np.minimum(most, HOMOGENEOUS)[:, None])


def _slopes(image: np.ndarray) -> np.ndarray:
    """Slopes along (row, column) of an image smoothed with a Gaussian of 1 pixel, (2, row, column)."""
    return np.stack([ndimage.gaussian_filter(image, 1.0, order=order) for order in ((1, 0), (0, 1))])


def _ridges(slopes: np.ndarray, low: float, high: float) -> np.ndarray:
    """Where a slope is within its limits, and no less than at both neighbours across the edge; (row, column) bool."""
    size = np.hypot(*slopes)
    steep = np.zeros(size.shape, bool)
    inner = size[1:-1, 1:-1]
    along_rows = np.abs(slopes[0]) >= np.abs(slopes[1])
    higher = np.where(
        along_rows[1:-1, 1:-1],
        np.maximum(size[:-2, 1:-1], size[2:, 1:-1]),
        np.maximum(size[1:-1, :-2], size[1:-1, 2:]),
    )
    steep[1:-1, 1:-1] = (inner >= low) & (inner <= high) & (inner >= higher)
    return steep
