"""Agreement of two masks."""

from __future__ import annotations

import numpy as np


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Twice the common volume over the sum of both (Dice, Ecology 26, 1945): 1 for equal masks, 0 for disjoint ones.

    Parameters
    ----------
    predicted, truth: masks of one shape; values other than 0 are inside.

    Returns
    -------
    0 to 1; NaN if `truth` is empty: the structure was not drawn.

    Raises
    ------
    ValueError: the two differ in shape.
    """
    first, second = np.asarray(predicted, bool), np.asarray(truth, bool)
    if first.shape != second.shape:
        raise ValueError(f"masks of the shapes {first.shape} and {second.shape} cannot be compared")
    inside = int(second.sum())
    if inside == 0:
        return float("nan")
    return 2 * int((first & second).sum()) / (int(first.sum()) + inside)
