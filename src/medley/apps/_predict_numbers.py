"""The numbers of a prediction as plain JSON values: volumes and doses of structures, probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage

from medley.inference.predictor import Prediction
from medley.metrics.dose import dvh_metrics, is_target
from medley.metrics.overlap import dice
from medley.targets import Target
from medley.volume import Volume

Masks = Mapping[str, np.ndarray]


def answers(prediction: Prediction, targets: tuple[Target, ...]) -> dict[str, Any]:
    """The numbers of each target, by its name.

    For a map its maximum and unit, for each structure those of `of_structure`, for classes the most probable class and
    all probabilities.
    """
    result: dict[str, Any] = {}
    for target in targets:
        if target.kind == "map":
            values = np.asarray(prediction.maps[target.name].data)
            result[target.name] = {"unit": target.unit, "maximum": _rounded(values.max())}
        elif target.kind == "structures":
            result[target.name] = of_structures(prediction, prediction.masks[target.name])
        else:
            probabilities = prediction.probabilities[target.name]
            likeliest = max(probabilities, key=lambda name: probabilities[name])
            rounded = {name: _rounded(value) for name, value in probabilities.items()}
            result[target.name] = {"answer": likeliest, "probabilities": rounded}
    return result


def of_structures(prediction: Prediction, masks: Masks, beside: Masks | None = None) -> dict[str, dict[str, Any]]:
    """The numbers of each mask; masks are on the grid of the scan.

    Parameters
    ----------
    beside: predicted masks; "dice" is the Dice coefficient with the predicted mask of the same name.
    """
    dose = dose_of(prediction)
    numbers = {name: of_structure(prediction.scan, name, mask, dose) for name, mask in masks.items()}
    for name in numbers.keys() & (beside or {}).keys():
        if masks[name].any():
            numbers[name]["dice"] = _rounded(dice((beside or {})[name], masks[name]))
    return numbers


def of_structure(scan: Volume | np.ndarray, name: str, mask: np.ndarray, dose: np.ndarray | None) -> dict[str, Any]:
    """The numbers of one mask.

    Returns
    -------
    For a volume "volume_ml" and, where there is a dose, in Gy: "D_mean", and "D99", "D95", "D1" for a target or
    "D_0.1cc" for an organ (`medley.metrics.dose`). For a photograph "share", the fraction of its pixels.
    """
    if not isinstance(scan, Volume):
        return {"share": _rounded(mask.mean())}
    voxel = abs(float(np.linalg.det(scan.affine[:3, :3])))  # mm³
    numbers = {"volume_ml": _rounded(np.count_nonzero(mask) * voxel / 1000)}
    if dose is None or not mask.any():
        return numbers
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    inside, doses = mask[box], dose[box]
    numbers["D_mean"] = _rounded(doses[inside].mean(dtype=np.float64))
    found = dvh_metrics(doses, inside, scan.spacing, is_target(name))
    return numbers | {metric: _rounded(value) for metric, value in found.items() if metric != "mean"}


def dose_of(prediction: Prediction) -> np.ndarray | None:
    """The first predicted dose in Gy; None if there is none."""
    return next((np.asarray(one.data) for one in prediction.maps.values() if one.unit == "Gy"), None)


def _rounded(value: float) -> float:
    """Four digits; a network is not more precise."""
    return float(f"{value:.4g}")
