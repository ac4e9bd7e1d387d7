"""What was removed from an image, input - output: whether it looks like noise.

Noise that is removed has no structure: averaged over a few pixels little of it is left, and as much everywhere. A
removed lesion, or a blurred edge, is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

SCALES = (1.5, 3.0)  # pixels, of the Gaussians with which the difference is averaged
AROUND = 12.0  # pixels, of the Gaussian over which the noise of a place is measured
_DEVIATION = 1.4826  # standard deviation / median absolute value of a normal variable
_FEWEST = 256  # pixels; smaller areas say nothing about their noise


class Peak(NamedTuple):
    """A place where more was removed or added than noise explains.

    Attributes
    ----------
    row, column: of its highest value. score: in standard deviations of the averaged difference; above 0 where the
        output is lower than the input. scale: the Gaussian in pixels at which it is highest.
    change: output - input, the mean over that Gaussian, in the unit of the image.
    """

    row: int
    column: int
    score: float
    scale: float
    change: float


def structure(removed: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the averaged difference is from noise: (scale, row, column) scores, and the averaged difference.

    The difference is divided by its local noise, averaged at each of `SCALES`, and divided by the standard deviation of
    that, which is found from the median of the absolute values inside. Of noise, whatever its correlation, the scores
    have the standard deviation 1. They are 0 outside, and where fewer than 256 pixels are inside.

    Parameters
    ----------
    removed: (row, column), input - output. inside: where to look, a mask.
    """
    removed = np.asarray(removed, np.float32)
    averaged = np.stack([ndimage.gaussian_filter(removed, scale) for scale in SCALES])
    scores = np.zeros_like(averaged)
    if np.count_nonzero(inside) < _FEWEST:
        return scores, averaged
    weight = ndimage.gaussian_filter(inside.astype(np.float32), AROUND)
    power = ndimage.gaussian_filter(np.where(inside, np.square(removed), 0).astype(np.float32), AROUND)
    level = np.sqrt(power[inside] / np.maximum(weight[inside], 1e-6))
    level = np.maximum(level, 0.1 * float(np.median(level)))  # where hardly anything was changed, nothing is found
    if not float(level.max()) > 0:
        return scores, averaged
    for score, one in zip(scores, averaged, strict=True):
        relative = one[inside] / level
        deviation = _DEVIATION * float(np.median(np.abs(relative)))
        score[inside] = relative / deviation if deviation > 0 else 0
    return scores, averaged


def peaks(removed: np.ndarray, inside: np.ndarray, limit: float) -> list[Peak]:
    """The places whose score (`structure`) is above a limit in size, the highest first, one for each connected area."""
    scores, averaged = structure(removed, inside)
    best = np.abs(scores).argmax(axis=0)
    size = np.take_along_axis(np.abs(scores), best[None], axis=0)[0]
    areas, count = ndimage.label(size > limit)
    places = ndimage.maximum_position(size, areas, range(1, count + 1)) if count else []
    found = [
        Peak(int(r), int(c), float(scores[best[r, c], r, c]), SCALES[best[r, c]], -float(averaged[best[r, c], r, c]))
        for r, c in places
    ]
    return sorted(found, key=lambda peak: -abs(peak.score))


def edge_loss(removed: np.ndarray, output: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Sums (2,) for the share of the edges that was removed, inside: (removed . edges, edges . edges).

    `edges` is the fine detail of the output, output - Gaussian of 1.5 pixels, where its slope is in the steepest
    twentieth. The quotient of the sums over a scan is 0 if nothing of the edges was removed, above 0 where they were
    blurred, below where they were sharpened.
    """
    output = np.asarray(output, np.float32)
    smooth = ndimage.gaussian_filter(output, SCALES[0])
    slope = ndimage.gaussian_gradient_magnitude(output, SCALES[0])[inside]
    if slope.size < _FEWEST:
        return np.zeros(2)
    steep = slope >= np.quantile(slope, 0.95)
    edges = (output - smooth)[inside][steep].astype(np.float64)
    return np.array([(np.asarray(removed)[inside][steep] * edges).sum(), (edges**2).sum()])


def measured_change(before: np.ndarray, after: np.ndarray, lines: Sequence[int]) -> np.ndarray:
    """Sums (2,) for the change of the measured part of k-space: the power of (after - before), and of before, in it.

    Parameters
    ----------
    lines: how many of the central lines along (rows, columns) were measured.
    """
    part = []
    for size, kept in zip(before.shape, lines, strict=True):
        frequency = np.abs(np.fft.fftfreq(size) * size)
        part.append(frequency <= (min(kept, size) - 1) / 2)
    inside = np.outer(*part)
    power = [
        np.square(np.abs(np.fft.fft2(np.asarray(one, np.float64))))[inside].sum() for one in (after - before, before)
    ]
    return np.array(power)
