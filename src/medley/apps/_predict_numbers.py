"""What a prediction says in numbers: volumes and doses of structures, probabilities; plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage

from medley.inference.predictor import Prediction
from medley.metrics.dose import dvh_metrics, is_target
from medley.metrics.overlap import dice
from medley.problems import Target
from medley.volume import Volume

Masks = Mapping[str, np.ndarray]


def answers(prediction: Prediction, targets: tuple[Target, ...]) -> dict[str, Any]:
    """The answers to each target, by its name.

    A map has its largest value and its unit; structures have what `of_structure` gives, each; classes the likeliest one
    and all probabilities.
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
    """The numbers of each mask, which lies on the grid of the scan.

    Parameters
    ----------
    beside: predicted masks; where one has the same name, "dice" says how well the two agree.
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
    In a volume "volume_ml" and, where there is a dose, in Gy: "D_mean", and "D99", "D95", "D1" of a target or "D_0.1cc"
    of an organ (`medley.metrics.dose`). In a photograph "share", of its pixels.
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
    """The predicted dose in Gy, the first where there are several; None where there is none."""
    return next((np.asarray(one.data) for one in prediction.maps.values() if one.unit == "Gy"), None)


def _rounded(value: float) -> float:
    """Four digits are more than a network knows."""
    return float(f"{value:.4g}")
