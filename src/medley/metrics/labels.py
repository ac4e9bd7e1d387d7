"""Agreement of class probabilities with the true classes: AUROC and balanced accuracy.

The functions ending in `_of` take many weightings of the records at once, as resampling of subjects needs.
"""

from __future__ import annotations

import numpy as np


def auroc(scores: np.ndarray, positives: np.ndarray) -> float:
    """Area under the receiver operating characteristic: how likely a positive record scores above a negative one.

    Ties count one half, so that it equals the Mann-Whitney statistic over the number of pairs.

    Parameters
    ----------
    scores, positives: (record,), the latter bool.

    Returns
    -------
    0 to 1, 0.5 for guessing; NaN without a positive or without a negative record, or if a score is NaN.
    """
    scores = np.asarray(scores, np.float64)
    return float(auroc_of(scores, positives, np.ones((1, scores.size)))[0])


def mean_auroc(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean AUROC of each class against the rest; classes without positives or without negatives are left out.

    Parameters
    ----------
    probabilities: (record, class). truth: (record,), index of the class.

    Returns
    -------
    NaN if no class is left.
    """
    return float(mean_auroc_of(probabilities, truth, np.ones((1, len(truth))))[0])


def balanced_accuracy(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the classes that occur of the fraction of their records for which the class is the most probable one.

    Parameters
    ----------
    probabilities: (record, class). truth: (record,), index of the class.

    Returns
    -------
    NaN without records.
    """
    return float(balanced_accuracy_of(probabilities, truth, np.ones((1, len(truth))))[0])


def auroc_of(scores: np.ndarray, positives: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC under each weighting of the records.

    Parameters
    ----------
    scores, positives: (record,). weights: (weighting, record), how often a record is counted.

    Returns
    -------
    (weighting,)
    """
    scores, positives = np.asarray(scores, np.float64), np.asarray(positives, bool)
    if scores.size == 0 or np.isnan(scores).any():
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    ordered, weights = scores[order], weights[:, order]
    first_of_ties = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    # Both (weighting, distinct score), in ascending order of the score.
    up, down = (np.add.reduceat(weights * kind[order], first_of_ties, axis=1) for kind in (positives, ~positives))
    below = np.cumsum(down, axis=1) - down
    pairs = up.sum(axis=1) * down.sum(axis=1)
    return _ratio((up * (below + down / 2)).sum(axis=1), pairs)


def mean_auroc_of(probabilities: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`mean_auroc` under each weighting of the records; weights (weighting, record), gives (weighting,)."""
    truth = np.asarray(truth)
    columns = np.asarray(probabilities, np.float64).T
    return _mean_known([auroc_of(column, truth == k, weights) for k, column in enumerate(columns)])


def balanced_accuracy_of(probabilities: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`balanced_accuracy` under each weighting of the records; weights (weighting, record), gives (weighting,)."""
    truth, probabilities = np.asarray(truth), np.asarray(probabilities, np.float64)
    right = probabilities.argmax(axis=1) == truth
    classes = range(probabilities.shape[1])
    return _mean_known([_ratio(weights @ (right & (truth == k)), weights @ (truth == k)) for k in classes])


def _mean_known(values: list[np.ndarray]) -> np.ndarray:
    """Mean over the classes, each (weighting,); NaN ones left out."""
    stack = np.stack(values)
    known = np.isfinite(stack)
    return _ratio(np.where(known, stack, 0).sum(axis=0), known.sum(axis=0))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below; NaN where `below` is 0."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > 0)
