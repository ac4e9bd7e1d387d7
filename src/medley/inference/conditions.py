"""The conditions of a slice: what a restorer is told about it beside its values."""

from __future__ import annotations

import numpy as np

from medley.metrics.noise import noise_levels
from medley.slabs import Slabs

_SMALLEST = 1e-4  # noise of a normalised slice that is not distinguished from none


def conditions(slabs: Slabs, images: np.ndarray, task: int, tasks: int, noise: float | None = None) -> np.ndarray:
    """The conditions of slices, the second input of `medley.models.slab.SlabNet`.

    Parameters
    ----------
    slabs: for the distances and the size of a pixel.
    images: (n, row, column), the slices as the network sees them (`Normalisation.compress`), whole, since the noise is
        estimated from them.
    task: index of the task of these slices among the `tasks` tasks of the network.
    noise: standard deviation of the noise, in the scale of the images, if it is known; None estimates it.

    Returns
    -------
    (n, tasks + 5) float32: 1 for the task, 0 for others; the logarithms of two estimates of the noise, see
    `medley.metrics.noise.noise_levels`; log2(1 + mm) of the distances to the previous and to the next slice; log2 of
    the pixel size in mm.
    """
    named = np.zeros((len(images), tasks))
    named[:, task] = 1
    levels = np.maximum([noise_levels(one) for one in images], _SMALLEST).reshape(-1, 2)
    if noise is not None:  # the ratio of both estimates says how the noise is correlated; it is kept
        levels *= noise / levels[:, :1]
    pixel = np.full((len(images), 1), np.log2(max(slabs.pixel_mm, 1e-3)))
    parts = [named, np.log10(np.maximum(levels, _SMALLEST)) + 2, np.log2(1 + slabs.distances), pixel]
    return np.concatenate(parts, axis=1).astype(np.float32)
