"""Vectors of many samples in two dimensions, and how well they separate groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def principal_components(vectors: np.ndarray, count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """The coordinates of vectors along the directions of largest variance (PCA).

    The sign of each coordinate, which PCA leaves open, is such that the value of largest magnitude is positive.

    Parameters
    ----------
    vectors: (n, D). count: of coordinates; those beyond the rank are 0.

    Returns
    -------
    (n, count) coordinates, and (count,) their shares of the total variance, 0 where all vectors are equal.
    """
    centred = np.asarray(vectors, np.float64)
    centred = centred - centred.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    coordinates, shares = np.zeros((len(centred), count)), np.zeros(count)
    total = float((sizes**2).sum())
    for k in range(min(count, len(sizes)) if total > 0 else 0):
        one = left[:, k] * sizes[k]
        coordinates[:, k] = one * np.sign(one[np.abs(one).argmax()] or 1.0)
        shares[k] = sizes[k] ** 2 / total
    return coordinates, shares


def share_between_groups(vectors: np.ndarray, groups: Sequence[str]) -> float:
    """The share of the variance of vectors (n, D) that lies between the means of groups: η², from 0 to 1.

    1: the vectors of a group are equal; 0: all groups have the same mean. NaN if all vectors are equal. With n vectors
    in k groups it is (k - 1) / (n - 1) on average where groups mean nothing.
    """
    values = np.asarray(vectors, np.float64)
    names = np.array(groups)
    mean = values.mean(axis=0)
    total = float(((values - mean) ** 2).sum())
    between = sum(
        int((names == name).sum()) * float(((values[names == name].mean(axis=0) - mean) ** 2).sum())
        for name in np.unique(names)
    )
    return between / total if total > 0 else float("nan")
