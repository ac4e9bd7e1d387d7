"""Scores of one output of a network, scores of a method on many records, and the relative difference of two methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from medley.errors import MedleyError
from medley.metrics.dose import dose_score, dvh_differences
from medley.metrics.image import METRICS
from medley.metrics.labels import balanced_accuracy_of, mean_auroc_of
from medley.metrics.measures import MEASURES, RECORD, is_measure
from medley.metrics.overlap import dice
from medley.targets import Target

# The main score of each kind of target, and of the CT phantom; `delta` is computed from it.
MAIN = {"image": "psnr", "structures": "dice", "map": "dose_score", "classes": "auroc", "phantom": "d_prime"}
_HIGHER_IS_BETTER = {"dice": True, "dose_score": False, "dvh_score": False, "auroc": True, "balanced_accuracy": True}


# A column of each kind.
_KINDS = {"psnr": "image", "dice": "structures", "mae": "map", "label": "classes", "d_prime": "phantom"}


def kind_of(columns: Iterable[str]) -> str | None:
    """The kind of target that has values with these names; None if they are unknown."""
    columns = set(columns)
    return next((kind for column, kind in _KINDS.items() if column in columns), None)


def higher_is_better(score: str) -> bool | None:
    """Whether a higher score is better, None if neither is; "dice Larynx" is treated as "dice"."""
    name = score.split()[0]
    if name in METRICS:
        return METRICS[name].higher
    return MEASURES[name].higher if name in MEASURES else _HIGHER_IS_BETTER[name]


def score_output(
    target: Target,
    output: np.ndarray,
    truth: np.ndarray | str,
    *,
    spacing: Sequence[float] = (),
    within: np.ndarray | None = None,
    drawn: Sequence[str] | None = None,
    masks: Mapping[str, np.ndarray] | None = None,
) -> dict[str, float]:
    """Scores of the output for one target of one record; for images see `medley.metrics.image`.

    Parameters
    ----------
    target: the predicted target.
    output: decoded: structures, (K, *spatial) probabilities, inside above 0.5; a map, (*spatial) in its unit; classes,
        (K,) probabilities.
    truth: structures, (K, *spatial) masks; a map, (*spatial) in its unit; classes, the name of the true one.
    spacing: mm along each axis, for the DVH of a map.
    within: mask (*spatial) of the voxels of a map that are scored; None for all.
    drawn: the structures that were drawn for this record; None for all of them.
    masks: structures (*spatial) by name, to score the DVH of a map with.

    Returns
    -------
    structures: {"dice": mean over those drawn, "dice NAME": of each}; {} if none was drawn.
    map: {"mae": the challenge's dose score, in its unit} and, with `masks`, {"dvh": mean |difference| over the entries
    of this record, "dvh entries": how many}; {} if no voxel is scored.
    classes: {"label": index of the true class, "p NAME": probability of each}.

    Raises
    ------
    MedleyError: the output has values that are not finite.
    ValueError: shapes differ, or the target has no such class.
    """
    output = np.asarray(output)
    if not np.isfinite(output).all():
        raise MedleyError(f"the output for {target.name} has values that are not finite, so it cannot be scored")
    if target.kind == "classes":
        return _classes(target, output, str(truth))
    if target.kind == "structures":
        return _structures(target, output, np.asarray(truth), drawn)
    return _map(output, np.asarray(truth), spacing, within, masks)


def pooled(kind: str, columns: Mapping[str, np.ndarray], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of a method from the values of its records, for each weighting of the records.

    Parameters
    ----------
    kind: of the target.
    columns: (record,) each, by the names that `score_output` uses, or for images by those of
        `medley.metrics.image.METRICS` and `measures.RECORD`, and "slices", the number of slices; for the phantom by
        those of `measures.PHANTOM`. NaN where a record has none.
    weights: (weighting, record).

    Returns
    -------
    (weighting,) each. image: means over all slices (the papers' protocol); of measures, records have the weight of
    their slices, and those without the measure are left out. structures: {"dice", "dice NAME" ...}, means over the
    records. map: {"dose_score": mean over the records, "dvh_score": mean over the entries of all records together}.
    classes: {"auroc", "balanced_accuracy"} of all records together. phantom: means over the records. A score without
    any record is NaN or absent.
    """
    if kind == "image":
        slices = weights * np.nan_to_num(columns.get("slices", np.ones(weights.shape[1])))
        return {name: weighted_mean(columns[name], slices) for name in (*METRICS, *RECORD) if name in columns}
    if kind == "phantom":
        return {name: weighted_mean(values, weights) for name, values in columns.items() if is_measure(name)}
    if kind == "structures":
        return {name: weighted_mean(values, weights) for name, values in columns.items() if name.split()[0] == "dice"}
    if kind == "map":
        scores = {"dose_score": weighted_mean(columns["mae"], weights)} if "mae" in columns else {}
        if "dvh" in columns:
            entries = np.nan_to_num(columns["dvh entries"])
            scores["dvh_score"] = weighted_mean(columns["dvh"], weights * entries)
        return scores
    if "label" not in columns:
        return {}
    known = np.isfinite(columns["label"])
    probabilities = np.stack([values[known] for name, values in columns.items() if name.startswith("p ")], axis=1)
    truth, weights = columns["label"][known].astype(int), weights[:, known]
    return {
        "auroc": mean_auroc_of(probabilities, truth, weights),
        "balanced_accuracy": balanced_accuracy_of(probabilities, truth, weights),
    }


def summarise(kind: str, values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """`pooled` with equal weights, from the values of each record; missing values are left out."""
    names = dict.fromkeys(name for one in values for name in one)
    columns = {name: np.array([one.get(name, np.nan) for one in values], np.float64) for name in names}
    return {name: float(value[0]) for name, value in pooled(kind, columns, np.ones((1, len(values)))).items()}


def delta(scores: Mapping[str, float], baseline: Mapping[str, float], targets: Sequence[Target]) -> float:
    """Improvement of a method over another, in %: mean relative change of the main score over the targets.

    Positive values are improvements, for all scores (Vandenhende et al., arXiv 2004.13379, sec. 4.1).

    Parameters
    ----------
    scores, baseline: the main score (`MAIN`) of every target, by its name.

    Returns
    -------
    NaN where a score is NaN.

    Raises
    ------
    KeyError: a target has no score.
    """
    changes = [
        improvement(
            np.asarray(scores[t.name]), np.asarray(baseline[t.name]), higher=bool(higher_is_better(MAIN[t.kind]))
        )
        for t in targets
    ]
    return float(np.mean(changes))


def improvement(values: np.ndarray, baseline: np.ndarray, *, higher: bool) -> np.ndarray:
    """The relative change from a baseline in %, positive for an improvement.

    Parameters
    ----------
    higher: whether a higher score is better.

    Returns
    -------
    NaN where the baseline is 0.
    """
    change = (100 if higher else -100) * (values - baseline)
    return np.divide(change, baseline, out=np.full(np.shape(change), np.nan), where=baseline != 0)


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of the values that are finite, under each weighting: (record,), (weighting, record) -> (weighting,)."""
    known = np.isfinite(values)
    total = weights @ known
    return np.divide(weights @ np.where(known, values, 0), total, out=np.full(len(weights), np.nan), where=total > 0)


def _structures(target: Target, output: np.ndarray, truth: np.ndarray, drawn: Sequence[str] | None) -> dict[str, float]:
    if output.shape != truth.shape or len(output) != len(target.names):
        raise ValueError(f"{target.name}: output {output.shape}, truth {truth.shape}, {len(target.names)} structures")
    drawn = target.names if drawn is None else drawn
    found = {name: dice(output[k] > 0.5, truth[k]) for k, name in enumerate(target.names) if name in drawn}
    found = {name: value for name, value in found.items() if np.isfinite(value)}
    if not found:
        return {}
    return {"dice": float(np.mean(list(found.values()))), **{f"dice {name}": value for name, value in found.items()}}


def _map(
    output: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float],
    within: np.ndarray | None,
    masks: Mapping[str, np.ndarray] | None,
) -> dict[str, float]:
    inside = np.ones(truth.shape, bool) if within is None else np.asarray(within, bool)
    scores = {"mae": dose_score(output, truth, inside)}
    if not inside.any():
        return {}
    if masks is None:
        return scores
    entries = list(dvh_differences(np.where(inside, output, 0), truth, masks, spacing).values())
    if entries:
        scores |= {"dvh": float(np.mean(entries)), "dvh entries": float(len(entries))}
    return scores


def _classes(target: Target, output: np.ndarray, truth: str) -> dict[str, float]:
    if output.shape != (len(target.names),):
        raise ValueError(f"{target.name}: output {output.shape}, but {len(target.names)} classes")
    if truth not in target.names:
        raise ValueError(f"{target.name}: the true class {truth!r} is none of {', '.join(target.names)}")
    probabilities = {f"p {name}": float(value) for name, value in zip(target.names, output, strict=True)}
    return {"label": float(target.names.index(truth)), **probabilities}
