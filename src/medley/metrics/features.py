"""A dozen features of a scan or photograph, by which it is compared with those that a network was trained on.

They describe what a network depends on: the range of the values, noise, sharpness, pixel size; for a network that takes
a body, its size, shape and tissues. `FEATURES` lists them all, and `scan_features`, `body_features` and
`photograph_features` compute them. A feature that is not defined, such as the slice distance of a single slice, is
absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medley.metrics.noise import noise_levels, smooth_noise_level
from medley.tasks import Task
from medley.volume import evenly_spread

_PAIRS = 8  # neighbouring slices that are measured in a scan
_LARGEST = 512  # pixels: of a larger slice the middle is measured
_LEAST = 1e-4  # of the range of the task: noise and values below are not distinguished from 0
_HIDDEN_AIR, _FAT, _BONE = -400.0, (-150.0, -30.0), 150.0  # HU
_SLIVER = 0.1  # of the largest cross-section of a body: slices with less are no part of it
_LUMINANCE = (0.299, 0.587, 0.114)  # weights of red, green and blue, ITU-R BT.601

Scale = Literal["difference", "ratio", "correlation"]


@dataclass(frozen=True)
class Feature:
    """What a feature means, and how two values of it are compared.

    Attributes
    ----------
    words: its name for people. unit: of the value; "scan" is the unit of the scan.
    scale: two values are compared by their difference, by the logarithm of their ratio, or, for a correlation r, by
        the logarithm of the ratio of 1 - r.
    tolerance: a difference on that scale that does not matter. Training scans that differ less are not told apart. In
        the unit "scan" it is a share of the range of the task.
    """

    words: str
    unit: str
    scale: Scale
    tolerance: float


FEATURES: Mapping[str, Feature] = {
    # of a scan to restore: `scan_features`
    "pixel": Feature("pixel size", "mm", "ratio", 0.2),
    "distance": Feature("slice distance", "mm", "ratio", 0.2),
    "filled": Feature("share of the image above its mean", "%", "difference", 5),
    "lowest": Feature("lowest value (1st percentile)", "scan", "difference", 0.01),
    "dark": Feature("dark tissue (10th percentile of the part above the mean)", "scan", "difference", 0.01),
    "middle": Feature("median of the part above the mean", "scan", "difference", 0.01),
    "bright": Feature("bright tissue (90th percentile of the part above the mean)", "scan", "difference", 0.01),
    "highest": Feature("highest value (99.9th percentile)", "scan", "difference", 0.01),
    "noise": Feature("noise", "scan", "ratio", 0.2),
    "coarseness": Feature("noise after averaging 2 x 2 pixels, relative to noise", "", "ratio", 0.2),
    "pixel_correlation": Feature("correlation of neighbouring pixels", "", "correlation", 0.2),
    "slice_correlation": Feature("correlation of neighbouring slices", "", "correlation", 0.2),
    "equal": Feature("neighbouring pixels of exactly one value, in the part above the mean", "%", "difference", 15),
    # of the body in a CT: `body_features`
    "length": Feature("length of the body in the scan", "mm", "ratio", 0.1),
    "upper_area": Feature("cross-section of the upper third of the body", "cm2", "ratio", 0.1),
    "middle_area": Feature("cross-section of the middle third of the body", "cm2", "ratio", 0.1),
    "lower_area": Feature("cross-section of the lower third of the body", "cm2", "ratio", 0.1),
    "smallest_area": Feature("smallest cross-section of the body (10th percentile)", "cm2", "ratio", 0.1),
    "width": Feature("width of the body (median)", "mm", "ratio", 0.1),
    "depth": Feature("depth of the body, front to back (median)", "mm", "ratio", 0.1),
    "air": Feature("air in the body", "%", "difference", 1),
    "fat": Feature("fat (-150 to -30 HU) in the body", "%", "difference", 2),
    "bone": Feature("bone (above 150 HU) in the body", "%", "difference", 1),
    "soft": Feature("median of the body", "HU", "difference", 10),
    "dense": Feature("dense tissue (95th percentile of the body)", "HU", "difference", 20),
    "spread": Feature("standard deviation in the body", "HU", "ratio", 0.1),
    "roughness": Feature("difference of neighbouring voxels in the body (median)", "HU", "ratio", 0.2),
    # of a photograph: `photograph_features`
    "darkest": Feature("dark level (5th percentile)", "grey levels", "difference", 5),
    "luminance": Feature("median luminance", "grey levels", "difference", 5),
    "brightest": Feature("bright level (95th percentile)", "grey levels", "difference", 5),
    "red": Feature("red above green (mean)", "grey levels", "difference", 3),
    "blue": Feature("blue above green (mean)", "grey levels", "difference", 3),
    "red_spread": Feature("spread of red above green", "grey levels", "ratio", 0.2),
    "blue_spread": Feature("spread of blue above green", "grey levels", "ratio", 0.2),
    "rim": Feature("luminance of the rim above that of the centre", "grey levels", "difference", 5),
    "flat": Feature("neighbouring pixels of exactly one colour", "%", "difference", 2),
    "clipped": Feature("black and white pixels", "%", "difference", 2),
    "grain": Feature("noise", "grey levels", "ratio", 0.2),
    "smoothness": Feature("correlation of neighbouring pixels", "", "correlation", 0.2),
    "colour_correlation": Feature("correlation of red and green", "", "correlation", 0.2),
}


def compared_slices(count: int) -> list[int]:
    """The numbers of the slices that `scan_features` needs of a scan of `count` slices: at most eight pairs of
    neighbours, evenly spread.
    """
    first = evenly_spread(max(count - 1, 1), _PAIRS)
    return sorted({k for one in first for k in (one, one + 1) if k < count})


def scan_features(
    slices: Mapping[int, np.ndarray], spacing: Sequence[float], task: Task, full_scale: float
) -> dict[str, float]:
    """The features of a scan to restore, "pixel" to "equal" in `FEATURES`.

    Values are in the unit of the task, of a `scaled` or `grey` task in % of the full scale; values below the range of
    the task, with which scanners fill the corners of an image, count as its lower end. Noise is estimated by
    `smooth_noise_level`; correlations and noise are medians over the slices.

    Parameters
    ----------
    slices: {number: (row, column)}, those of `compared_slices`.
    spacing: mm along (slice, row, column); 0 and () where it is not known.
    full_scale: the value that corresponds to the upper end of the range of the task, see `Task.factor`.
    """
    relative = task.scaled or task.grey
    factor, least = (100 / full_scale, -math.inf) if relative else (1.0, task.range[0])
    images = {k: np.maximum(factor * _middle(one), least) for k, one in slices.items()}
    values = np.concatenate([one.ravel() for one in images.values()])
    lowest, highest = np.quantile(values, (0.01, 0.999))
    above = values[values > values.mean()]
    dark, middle, bright = np.quantile(above, (0.1, 0.5, 0.9)) if above.size else (lowest,) * 3
    floor = _LEAST * (100 if relative else task.range[1] - task.range[0])
    noise, coarse = np.maximum(np.median([noise_levels(one) for one in images.values()], axis=0), floor)
    between = [_correlation(one, images[k + 1]) for k, one in images.items() if k + 1 in images]
    return {
        **({"pixel": float(np.sqrt(np.prod(spacing[-2:])))} if len(spacing) >= 2 else {}),
        **({"distance": float(spacing[0])} if len(images) > 1 and len(spacing) == 3 and spacing[0] else {}),
        "filled": 100 * above.size / values.size,
        "lowest": float(lowest),
        "dark": float(dark),
        "middle": float(middle),
        "bright": float(bright),
        "highest": float(highest),
        "noise": float(noise),
        "coarseness": float(coarse / noise),
        "pixel_correlation": float(np.median([_neighbours(one) for one in images.values()])),
        **({"slice_correlation": float(np.median(between))} if between else {}),
        "equal": 100 * float(np.median([_equal(one) for one in images.values()])),
    }


def body_features(hu: np.ndarray, body: np.ndarray, spacing: Sequence[float]) -> dict[str, float]:
    """The features of the body in a CT, "length" to "roughness" in `FEATURES`.

    Parameters
    ----------
    hu: (slice, row, column), HU, from head to feet. body: mask of the body, bool, not empty.
    spacing: mm along each axis.
    """
    pixel = spacing[1] * spacing[2] / 100  # cm2
    areas = pixel * body.sum(axis=(1, 2))
    inside = body & (areas > _SLIVER * areas.max())[:, None, None]
    areas = areas[areas > _SLIVER * areas.max()]
    kept = inside[inside.any(axis=(1, 2))]
    upper, middle, lower = (part.mean() for part in (np.array_split(areas, 3) if len(areas) > 2 else [areas] * 3))
    values = hu[inside]
    steps = np.abs(np.diff(hu, axis=1))[inside[:, 1:] & inside[:, :-1]]
    return {
        "length": float(spacing[0] * len(areas)),
        "upper_area": float(upper),
        "middle_area": float(middle),
        "lower_area": float(lower),
        "smallest_area": float(np.quantile(areas, 0.1)),
        "width": float(spacing[2] * np.median(kept.any(axis=1).sum(axis=1))),
        "depth": float(spacing[1] * np.median(kept.any(axis=2).sum(axis=1))),
        "air": 100 * float((values < _HIDDEN_AIR).mean()),
        "fat": 100 * float(((values > _FAT[0]) & (values < _FAT[1])).mean()),
        "bone": 100 * float((values > _BONE).mean()),
        "soft": float(np.median(values)),
        "dense": float(np.quantile(values, 0.95)),
        "spread": float(values.std()),
        "roughness": float(np.median(steps)) if steps.size else 0.0,
    }


def photograph_features(image: np.ndarray) -> dict[str, float]:
    """The features of a photograph, "darkest" to "colour_correlation" in `FEATURES`.

    Parameters
    ----------
    image: (3, row, column), red, green and blue, 0 to 255.
    """
    colours = np.asarray(image, np.float64)
    grey = np.tensordot(_LUMINANCE, colours, axes=1)
    rows, columns = grey.shape
    centre = np.zeros(grey.shape, bool)
    centre[rows // 4 : -(rows // 4) or None, columns // 4 : -(columns // 4) or None] = True
    red, blue = colours[0] - colours[1], colours[2] - colours[1]
    equal = np.concatenate([(np.diff(colours, axis=axis) == 0).all(axis=0).ravel() for axis in (1, 2)])
    dark, median, bright = np.quantile(grey, (0.05, 0.5, 0.95))
    return {
        "darkest": float(dark),
        "luminance": float(median),
        "brightest": float(bright),
        "red": float(red.mean()),
        "blue": float(blue.mean()),
        "red_spread": float(red.std()) + 1,
        "blue_spread": float(blue.std()) + 1,
        "rim": float(grey[~centre].mean() - grey[centre].mean()) if not centre.all() else 0.0,
        "flat": 100 * float(equal.mean()) if equal.size else 100.0,
        "clipped": 100 * float(((grey < 2) | (grey > 253)).mean()),
        "grain": max(smooth_noise_level(grey), 0.1),
        "smoothness": _neighbours(grey),
        "colour_correlation": _correlation(colours[0], colours[1]),
    }


def _middle(image: np.ndarray) -> np.ndarray:
    """The image, or the middle of a large one."""
    start = [max(0, (n - _LARGEST) // 2) for n in image.shape]
    return np.asarray(image[tuple(slice(k, k + _LARGEST) for k in start)], np.float32)


def _neighbours(image: np.ndarray) -> float:
    """The correlation of neighbouring pixels, the mean of both directions."""
    return (_correlation(image[1:], image[:-1]) + _correlation(image[:, 1:], image[:, :-1])) / 2


def _equal(image: np.ndarray) -> float:
    """The share of the pixels above the mean that have exactly the value of the next one in their row."""
    above = image[:, :-1] > image.mean()
    return float((image[:, 1:] == image[:, :-1])[above].mean()) if above.any() else 1.0


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation of two images; 1 where one of them is constant."""
    a, b = one - one.mean(), other - other.mean()
    norm = math.sqrt(float(np.vdot(a, a)) * float(np.vdot(b, b)))
    return float(np.vdot(a, b)) / norm if norm > 0 else 1.0
