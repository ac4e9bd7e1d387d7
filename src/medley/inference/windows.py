"""Images too large for one pass: overlapping windows, blended so that no seam shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

SIDE = 512  # pixels of a window along each axis
OVERLAP = 64  # pixels that neighbouring windows share at least


def blend_windows(
    image: np.ndarray, apply: Callable[[np.ndarray], np.ndarray], side: int = SIDE, overlap: int = OVERLAP
) -> np.ndarray:
    """`apply` to overlapping windows of an image (..., row, column), and the results (row, column) blended.

    Every window is (..., side, side), or the length of the image where that is shorter. The weight of a result falls
    linearly towards the window's border; the weights at each pixel sum to 1, so the
    result is exact if `apply` does not depend on the window; otherwise it changes smoothly across the overlap.
    """
    total = np.zeros(image.shape[-2:], np.float32)
    weight = np.zeros(image.shape[-2:], np.float32)
    for rows in _spans(image.shape[-2], side, overlap):
        for columns in _spans(image.shape[-1], side, overlap):
            window = apply(image[..., rows, columns])
            ramp = np.outer(_ramp(window.shape[0], overlap), _ramp(window.shape[1], overlap))
            total[rows, columns] += ramp * window
            weight[rows, columns] += ramp
    return total / weight


def _spans(length: int, side: int, overlap: int) -> Iterator[slice]:
    """Spans of `side` that cover 0..length, evenly spread, each sharing `overlap` or more with the next."""
    if length <= side:
        yield slice(0, length)
        return
    count = -(-(length - overlap) // (side - overlap))
    for k in range(count):
        start = round(k * (length - side) / (count - 1))
        yield slice(start, start + side)


def _ramp(length: int, overlap: int) -> np.ndarray:
    """1 in the middle, falling linearly to just above 0 over `overlap` pixels at both ends; never 0."""
    from_border = np.minimum(np.arange(length), np.arange(length)[::-1]) + 1
    return np.minimum(from_border / (overlap + 1), 1).astype(np.float32)
