"""How far two images of the same place are displaced against each other, to a fraction of a pixel."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_STEPS = 8  # of refinement at most
_ENOUGH = 0.005  # pixels: smaller corrections end the refinement
_FARTHEST = 1.5  # pixels: one step of refinement beyond this does not converge


def estimate_shift(reference: np.ndarray, image: np.ndarray) -> tuple[float, float] | None:
    """The displacement of `image` against `reference` along (rows, columns), in pixels.

    The shift for which image(x) = reference(x - shift).

    Whole pixels by correlation in Fourier space, fractions by least squares: the brightness and contrast of the
    reference and its displacement are fitted to the image, until the displacement changes no more (Gauss-Newton).
    Only the reference is differentiated, so noise of the image does not bias the result.

    Parameters
    ----------
    reference: (row, column), the better image. image: the same shape.

    Returns
    -------
    None where the images have too little structure: a blank slice, or lines in one direction only.
    """
    fixed, moving = (ndimage.gaussian_filter(np.asarray(one, np.float64), 1.0) for one in (reference, image))
    if min(fixed.shape) < 16 or not fixed.std() > 0 or not moving.std() > 0:
        return None
    fixed, moving = ((one - one.mean()) / one.std() for one in (fixed, moving))
    shift = start = _whole_pixels(fixed, moving)
    for _ in range(_STEPS):
        step = _fraction(fixed, moving, shift)
        if step is None:
            return None
        if np.abs(step).max() > _FARTHEST:
            shift = start
            break
        shift = shift + step
        if np.abs(step).max() < _ENOUGH:
            break
    return float(shift[0]), float(shift[1])


def _whole_pixels(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in fixed.shape))
    cross = np.fft.rfft2(moving * window) * np.fft.rfft2(fixed * window).conj()
    cross /= np.sqrt(np.abs(cross)) + 1e-9 * np.abs(cross).max()  # half way to phase correlation: a narrow peak
    correlation = np.fft.irfft2(cross, fixed.shape)
    peak = np.array(np.unravel_index(int(np.argmax(correlation)), fixed.shape), np.float64)
    size = np.array(fixed.shape)
    return np.where(peak > size / 2, peak - size, peak)


def _fraction(fixed: np.ndarray, moving: np.ndarray, shift: np.ndarray) -> np.ndarray | None:
    """The correction of a shift; None if the images do not determine it."""
    edge = [min(int(abs(s)) + 4, n // 3) for s, n in zip(shift, fixed.shape, strict=True)]
    inside = tuple(slice(e, n - e) for e, n in zip(edge, fixed.shape, strict=True))
    moved = ndimage.shift(fixed, shift, order=3, mode="nearest")
    rows, columns = (one[inside].ravel() for one in np.gradient(moved))
    values = moved[inside].ravel()
    unknown = np.stack([-rows, -columns, values, np.ones_like(values)], axis=1)
    normal = unknown.T @ unknown
    if np.linalg.cond(normal) > 1e8:
        return None
    solution = np.linalg.solve(normal, unknown.T @ moving[inside].ravel())
    return solution[:2] / solution[2] if solution[2] > 1e-3 else np.full(2, np.inf)
