"""Contrast, contrast-to-noise ratio and recovery in regions: masks of the same shape as the image."""

from __future__ import annotations

import numpy as np

from medley.errors import MedleyError


def contrast(image: np.ndarray, inside: np.ndarray, background: np.ndarray) -> float:
    """The mean within a mask minus that of the background, in the unit of the image."""
    return _mean(image, inside) - _mean(image, background)


def contrast_to_noise(image: np.ndarray, inside: np.ndarray, background: np.ndarray) -> float:
    """`contrast` divided by the standard deviation (n - 1) of the background; without unit, with its sign."""
    noise = float(np.std(_values(image, background), ddof=1))
    difference = contrast(image, inside, background)
    return difference / noise if noise else float(np.copysign(np.inf, difference)) if difference else 0.0


def recovery(image: np.ndarray, mask: np.ndarray, true: float, *, maximum: bool = False) -> float:
    """The recovery coefficient of a hot sphere: measured / true activity, without unit.

    Parameters
    ----------
    true: the activity in the sphere, in the unit of the image, above 0.
    maximum: of the hottest voxel (RCmax) instead of the mean over the mask (RCmean); EARL, Boellaard et al., Eur. J.
        Nucl. Med. Mol. Imaging 42 (2015) 328.
    """
    if true <= 0:
        raise MedleyError(f"a recovery coefficient needs a true activity above 0, not {true:g}")
    return (float(_values(image, mask).max()) if maximum else _mean(image, mask)) / true


def contrast_recovery(image: np.ndarray, inside: np.ndarray, background: np.ndarray, ratio: float) -> float:
    """Percent contrast of a hot sphere in a warm background, 100 (sphere / background - 1) / (ratio - 1).

    Parameters
    ----------
    ratio: true activity of the sphere / that of the background, not 1 (NEMA NU 2-2018, 7.4.1).
    """
    around = _mean(image, background)
    if ratio == 1 or around == 0:
        raise MedleyError(f"a ratio of {ratio:g} over a background of {around:g} has no contrast to recover")
    return 100 * (_mean(image, inside) / around - 1) / (ratio - 1)


def _mean(image: np.ndarray, mask: np.ndarray) -> float:
    return float(_values(image, mask).mean())


def _values(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if image.shape != mask.shape:
        raise MedleyError(f"the mask has the shape {mask.shape}, but the image {image.shape}")
    values = np.asarray(image, np.float64)[np.asarray(mask, bool)]
    if not values.size:
        raise MedleyError("the mask is empty")
    return values
