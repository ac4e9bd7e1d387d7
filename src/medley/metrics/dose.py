"""Agreement of a predicted with a planned radiation dose: dose score, dose-volume histograms, DVH score.

The definitions are those of the OpenKBP challenge (Babier et al., Medical Physics 48, 2021, sec. 2.4, and the
challenge's own program): doses in Gy; organs are scored by the dose to the hottest 0.1 cm³ and by the mean, targets by
the doses that at least 99, 95 and 1 % of the volume receive; percentiles with linear interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

_HOT_VOLUME = 100.0  # mm³, the 0.1 cm³ of D_0.1cc
_TARGET_PERCENTILES = {"D99": 1, "D95": 5, "D1": 99}


def is_target(structure: str) -> bool:
    """Whether a structure is a planning target (its name starts with PTV) and not an organ."""
    return structure.upper().startswith("PTV")


def dose_score(predicted: np.ndarray, truth: np.ndarray, possible: np.ndarray) -> float:
    """The challenge's dose score of one patient, in the unit of the doses (Gy); 0 is best.

    The sum over all voxels of |truth - predicted|, predicted dose outside the possible-dose region not counted, over
    the number of voxels of that region.

    Parameters
    ----------
    predicted, truth: dose, of one shape. possible: the region, a mask of that shape.

    Returns
    -------
    NaN if the region is empty.

    Raises
    ------
    ValueError: the shapes differ.
    """
    predicted, truth, possible = _same_shape(predicted, truth, possible)
    inside = possible.astype(bool)
    count = int(inside.sum())
    if count == 0:
        return float("nan")
    difference = np.abs(truth - np.where(inside, predicted, 0.0))
    return float(difference.sum() / count)


def dvh_metrics(dose: np.ndarray, mask: np.ndarray, spacing: Sequence[float], target: bool) -> dict[str, float]:
    """Summary values of a dose-volume histogram, in the unit of the dose.

    Parameters
    ----------
    dose, mask: of one shape. spacing: mm along each axis. target: a target, else an organ.

    Returns
    -------
    {"D99", "D95", "D1"} of a target, {"D_0.1cc", "mean"} of an organ; {} where the mask is empty. For an organ smaller
    than 0.1 cm³, D_0.1cc is its lowest dose.

    Raises
    ------
    ValueError: the shapes differ, or an axis has no spacing.
    """
    inside = _inside(dose, mask)
    if np.ndim(mask) != len(spacing):
        raise ValueError(f"{len(spacing)} spacings for a mask of {np.ndim(mask)} axes")
    if inside.size == 0:
        return {}
    if target:
        return {name: float(np.percentile(inside, at)) for name, at in _TARGET_PERCENTILES.items()}
    hot = max(1, round(_HOT_VOLUME / math.prod(spacing)))  # voxels
    return {
        "D_0.1cc": float(np.percentile(inside, max(0.0, 100 - 100 * hot / inside.size))),
        "mean": float(inside.mean()),
    }


def dvh_curve(dose: np.ndarray, mask: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Cumulative dose-volume histogram: the fraction of a structure that receives at least a dose.

    Parameters
    ----------
    dose, mask: of one shape. edges: (n,) doses.

    Returns
    -------
    (n,) from 1, where every voxel has the dose, to 0; NaN where the mask is empty.

    Raises
    ------
    ValueError: the shapes differ.
    """
    inside = np.sort(_inside(dose, mask))
    edges = np.asarray(edges, np.float64)
    if inside.size == 0:
        return np.full(edges.shape, np.nan)
    return 1 - np.searchsorted(inside, edges, side="left") / inside.size


def dvh_differences(
    predicted: np.ndarray, truth: np.ndarray, masks: Mapping[str, np.ndarray], spacing: Sequence[float]
) -> dict[str, float]:
    """|truth - predicted| of every metric of every structure of one patient: the entries of the DVH score.

    Parameters
    ----------
    predicted, truth: dose, of one shape. masks: of the structures, by name; those without a voxel were not drawn and
        are skipped. spacing: mm along each axis.

    Returns
    -------
    {"Brainstem D_0.1cc": Gy, "Brainstem mean": Gy, "PTV70 D99": Gy ...}. The DVH score is the mean over the entries of
    all patients together.

    Raises
    ------
    ValueError: the shapes differ, or an axis has no spacing.
    """
    differences: dict[str, float] = {}
    for name, mask in masks.items():
        first, second = (dvh_metrics(dose, mask, spacing, is_target(name)) for dose in (predicted, truth))
        differences |= {f"{name} {metric}": abs(second[metric] - first[metric]) for metric in second}
    return differences


def _inside(dose: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The doses of the voxels of a structure, (voxel,) float64."""
    dose, mask = _same_shape(dose, mask)
    return dose[mask.astype(bool)].astype(np.float64)


def _same_shape(*arrays: np.ndarray) -> list[np.ndarray]:
    arrays = tuple(np.asarray(array) for array in arrays)
    if len({array.shape for array in arrays}) > 1:
        raise ValueError(f"arrays of the shapes {', '.join(str(array.shape) for array in arrays)} do not match")
    return [array if array.dtype == bool else array.astype(np.float64) for array in arrays]
