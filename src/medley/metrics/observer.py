"""Detectability of a known signal by a channelised Hotelling observer.

The observer sees each image only through a few channels and weighs them by the inverse of their covariance. d' is in
units of the standard deviation of its decision variable. Sources: Barrett and Myers, Foundations of Image Science,
2004, ch. 13-14; Laguerre-Gauss channels: Gallas and Barrett, J. Opt. Soc. Am. A 20 (2003) 1725.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import eval_laguerre
from scipy.stats import norm

from medley.errors import MedleyError


class Detectability(NamedTuple):
    """Detectability index d', and the area under the ROC curve estimated without assumption of a distribution."""

    d_prime: float
    auc: float


def laguerre_gauss(size: int, width: float, count: int = 6) -> np.ndarray:
    """Laguerre-Gauss channels (channel, row, column) with unit norm, centred in a square of `size` pixels.

    Parameters
    ----------
    width: of the Gaussian exp(-pi r^2 / width^2), in pixels; about the diameter of the signal or somewhat more.
    """
    axis = np.arange(size) - (size - 1) / 2
    argument = 2 * np.pi * (axis[:, None] ** 2 + axis**2) / width**2
    channels = np.stack([np.exp(-argument / 2) * eval_laguerre(order, argument) for order in range(count)])
    return channels / np.sqrt((channels**2).sum(axis=(1, 2), keepdims=True))


def detectability(absent: np.ndarray, present: np.ndarray, channels: np.ndarray, folds: np.ndarray) -> Detectability:
    """How well the channelised Hotelling observer tells images with the signal from images without it.

    The template for the images of a fold comes from all other folds, so the result is not inflated by testing on the
    images of training; with few images it is too low instead.

    Parameters
    ----------
    absent, present: (image, row, column), without and with the signal. channels: (channel, row, column).
    folds: (image,), the fold of each image, the same for both; images that share noise belong to one fold.

    Raises
    ------
    MedleyError: shapes that differ, a single fold, or fewer images for training than twice the channels.
    """
    if absent.shape != present.shape or absent.shape[1:] != channels.shape[1:] or len(folds) != len(absent):
        raise MedleyError(
            f"images {absent.shape} without and {present.shape} with the signal, channels {channels.shape} and "
            f"{len(folds)} folds do not belong together: they must have the same images, rows and columns"
        )
    names, sizes = np.unique(folds, return_counts=True)
    least = len(absent) - max(sizes, default=0)
    if len(names) < 2 or least < 2 * len(channels):
        raise MedleyError(
            f"{len(absent)} images in {len(names)} folds leave {least} to train on; "
            f"{len(channels)} channels need at least {2 * len(channels)}, in two folds or more"
        )
    flat = channels.reshape(len(channels), -1).T.astype(np.float64)
    without, having = (images.reshape(len(images), -1) @ flat for images in (absent, present))
    scores = np.empty((2, len(folds)))
    for name in names:
        test = folds == name
        template = _template(without[~test], having[~test])
        scores[0, test], scores[1, test] = without[test] @ template, having[test] @ template
    return Detectability(_index(scores, folds, names), _auc(scores, folds, names))


def ideal_index(signal: np.ndarray, noise: float) -> float:
    """d' of the ideal linear observer for a known signal (row, column) in white noise: norm / standard deviation."""
    return float(np.sqrt((np.asarray(signal, np.float64) ** 2).sum()) / noise)


def area_of_index(index: float) -> float:
    """Area under the ROC curve of Gaussian decision variables of equal variance, Phi(d' / sqrt 2)."""
    return float(norm.cdf(index / np.sqrt(2)))


def _template(absent: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The Hotelling template in the channels, from (image, channel)."""
    covariance = (np.cov(absent.T) + np.cov(present.T)) / 2
    return np.linalg.pinv(np.atleast_2d(covariance)) @ (present.mean(axis=0) - absent.mean(axis=0))


def _index(scores: np.ndarray, folds: np.ndarray, names: np.ndarray) -> float:
    """d', with means and variances within each fold (the templates differ between them), averaged over the folds."""
    found = []
    for name in names:
        low, high = scores[:, folds == name]
        found.append((high.mean() - low.mean()) / np.sqrt((low.var(ddof=1) + high.var(ddof=1)) / 2))
    return float(np.mean(found))


def _auc(scores: np.ndarray, folds: np.ndarray, names: np.ndarray) -> float:
    """The share of pairs in the right order (ties count half), averaged over the folds."""
    found = []
    for name in names:
        low, high = scores[:, folds == name]
        steps = np.sign(high[:, None] - low)
        found.append((steps.mean() + 1) / 2)
    return float(np.mean(found))
