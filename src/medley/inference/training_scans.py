"""Whether a scan is like those that a network was trained on: out-of-distribution detection.

The weights file describes the training scans by their features (`medley.metrics.features`). The distance of a scan is
that to the most similar training scan, as in Sun, Ming, Zhu and Li, "Out-of-distribution detection with deep nearest
neighbors", ICML 2022, but in a space of features that have names and units. The limit is found by leaving out one
training subject at a time: `FALSE_ALARMS` of them would be reported without the margin that is added.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from medley.errors import MedleyError, MedleyNotice
from medley.geometry.body import View, find_body
from medley.metrics.features import FEATURES, body_features, compared_slices, photograph_features, scan_features
from medley.models.weights import Description, reading_part
from medley.targets import Plain
from medley.tasks import Task
from medley.volume import Volume

FALSE_ALARMS = 0.04  # share of the training subjects that would be reported if they were left out
_MARGIN = 1.1  # of the limit, because it is estimated from few subjects
FEWEST = 8  # subjects; fewer say too little about what others look like
SMALLEST = 16  # pixels: sides of a slice; statistics of smaller ones say nothing
_POWER = 4  # of the differences in a distance: one large difference counts more than several small ones
_NAMED = 4  # features that a report names, at most
_LEAST = 1e-4  # values that are compared by their ratio, and 1 - a correlation, count as at least this


class Stored(Plain):
    """The training scans of one task as they are stored in a weights file.

    Attributes
    ----------
    features: their names. scans: a list of values for each scan, in the order of `features`; None: not defined.
    subjects: for each scan the number of its subject.
    """

    features: tuple[str, ...]
    scans: tuple[tuple[float | None, ...], ...]
    subjects: tuple[int, ...]


@dataclass(frozen=True)
class Difference:
    """A feature in which a scan differs from the training scans.

    Attributes
    ----------
    words, unit: see `medley.metrics.features.Feature`. value: of the scan. low, high: least and greatest value of the
        training scans.
    """

    words: str
    unit: str
    value: float
    low: float
    high: float

    @property
    def outside(self) -> bool:
        """Whether the value is outside of those of the training scans."""
        return not self.low <= self.value <= self.high

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.words} {_number(self.value)}{unit} (trained: {_number(self.low)} to {_number(self.high)}{unit})"


@dataclass(frozen=True)
class Likeness:
    """The comparison of a scan with the training scans.

    Attributes
    ----------
    distance: to the most similar training scan. limit: the distance above which a scan is reported.
    differences: what differs most, the largest difference first; () for a scan that is like the training scans.
    """

    distance: float
    limit: float
    differences: tuple[Difference, ...] = ()

    @property
    def alike(self) -> bool:
        """Whether the scan is like the training scans."""
        return self.distance <= self.limit

    def record(self) -> dict[str, Any]:
        """The comparison as plain JSON values; an infinite distance, of a scan without any feature, is None."""
        distance = round(self.distance, 4) if math.isfinite(self.distance) else None
        differences = [asdict(one) for one in self.differences]
        return {"alike": self.alike, "distance": distance, "limit": round(self.limit, 4), "differences": differences}

    def sentence(self, name: str) -> str:
        """What differs, in words.

        name: of the network.
        """
        if not self.differences:
            return f"unlike the training scans of {name}: there is nothing in it to compare"
        words = ", ".join(map(str, self.differences))
        if self.differences[0].outside:
            return f"unlike the training scans of {name}: {words}"
        return f"unlike the training scans of {name}, of which none has this combination: {words}"


class TrainingScans:
    """The features of the training scans of one task.

    Parameters
    ----------
    stored: features that this medley does not know are left out.
    task: for the unit and the range of the values.

    Raises
    ------
    MedleyError: the numbers of features, scans or subjects do not match, or there is nothing to compare.
    """

    def __init__(self, stored: Stored, task: Task) -> None:
        if len(stored.scans) != len(stored.subjects) or any(len(one) != len(stored.features) for one in stored.scans):
            raise MedleyError("the numbers of features, scans and subjects differ")
        known = [k for k, name in enumerate(stored.features) if name in FEATURES]
        self.features = tuple(stored.features[k] for k in known)
        self.subjects = np.array(stored.subjects)
        self.values = np.array(stored.scans, np.float64)[:, known] if known and stored.scans else np.empty((0, 0))
        if len(np.unique(self.subjects)) < 2 or not self.values.size:
            raise MedleyError("there are fewer than two subjects, or no feature")
        self._task = task
        self._points = self._scaled(self.values)
        spread = np.nanstd(np.where(np.isfinite(self._points).any(axis=0), self._points, 0), axis=0)
        self._scales = np.maximum(spread, [self._tolerance(name) for name in self.features])

    def compare(self, found: Mapping[str, float]) -> Likeness:
        """The likeness of a scan with these features, {name: value}; a feature that one side lacks is left out."""
        values = np.array([found.get(name, math.nan) for name in self.features])
        differences = (self._scaled(values[None]) - self._points) / self._scales
        distances = _distances(differences)
        nearest = int(distances.argmin())
        if distances[nearest] <= self.limit:
            return Likeness(float(distances[nearest]), self.limit)
        low, high = np.nanmin(self.values, axis=0), np.nanmax(self.values, axis=0)
        every = [
            Difference(feature.words, self._unit(feature.unit), float(values[k]), float(low[k]), float(high[k]))
            for k, feature in enumerate(FEATURES[name] for name in self.features)
        ]
        sizes = np.nan_to_num(np.abs(differences[nearest]))
        order = [int(k) for k in np.argsort(-sizes, kind="stable") if sizes[k] > 0]
        named = [every[k] for k in order if every[k].outside] or [every[k] for k in order[:2]]
        return Likeness(float(distances[nearest]), self.limit, tuple(named[:_NAMED]))

    @cached_property
    def limit(self) -> float:
        """The distance above which a scan is reported."""
        return _MARGIN * float(np.quantile(self.left_out(), 1 - FALSE_ALARMS))

    def left_out(self) -> np.ndarray:
        """(subject,) the greatest distance of the scans of each subject from those of the others."""
        return np.array([self._left_out(self.subjects == subject) for subject in np.unique(self.subjects)])

    def summary(self) -> dict[str, Any]:
        """Numbers of scans and subjects, the limit, and the range of every feature; plain JSON values."""
        low, high = np.nanmin(self.values, axis=0), np.nanmax(self.values, axis=0)
        return {
            "scans": len(self.values),
            "subjects": len(np.unique(self.subjects)),
            "limit": round(self.limit, 4),
            "features": {
                name: {
                    "words": FEATURES[name].words,
                    "unit": self._unit(FEATURES[name].unit),
                    "low": float(low[k]),
                    "high": float(high[k]),
                }
                for k, name in enumerate(self.features)
            },
        }

    def _left_out(self, own: np.ndarray) -> float:
        others = self._points[~own]
        return float(max(_distances((one - others) / self._scales).min() for one in self._points[own]))

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        """Values (scan, feature) on the scales on which their differences count."""
        scales = np.array([FEATURES[name].scale for name in self.features])
        ratios = np.log(np.maximum(values, _LEAST))
        correlations = np.log(np.maximum(1 - values, _LEAST))
        return np.select([scales == "ratio", scales == "correlation"], [ratios, correlations], values)

    def _relative(self) -> bool:
        return self._task.scaled or self._task.grey

    def _unit(self, unit: str) -> str:
        return unit if unit != "scan" else "% of full scale" if self._relative() else self._task.unit

    def _tolerance(self, name: str) -> float:
        feature = FEATURES[name]
        if feature.unit != "scan" or feature.scale != "difference":
            return feature.tolerance
        return feature.tolerance * (100 if self._relative() else self._task.range[1] - self._task.range[0])


class RestorableScans:
    """The training scans of every task of a restorer; they are read from its description when they are needed."""

    def __init__(self, description: Description) -> None:
        self._description = description
        self._scans: dict[str, TrainingScans | None] = {}

    def compare(self, volume: Volume, task: Task, full_scale: float) -> Likeness | None:
        """The likeness of a scan with the training scans of a task; its slices are read once.

        None for weights that do not describe their training scans, and with a `MedleyNotice` for a scan with too few
        pixels.

        Parameters
        ----------
        full_scale: the value that corresponds to the upper end of the range of the task, see `Task.factor`.

        Raises
        ------
        MedleyError: the description is damaged.
        """
        if task.name not in self._scans:
            self._scans[task.name] = described_scans(self._description, task)
        scans = self._scans[task.name]
        if scans is None:
            return None
        rows, columns = volume.shape[1:]
        if min(rows, columns) < SMALLEST:
            text = f"slices of {rows} x {columns} pixels are too small to compare the scan with the training scans"
            warnings.warn(f"{text}, which needs at least {SMALLEST} x {SMALLEST}", MedleyNotice, stacklevel=4)
            return None
        wanted = compared_slices(volume.shape[0])
        slices = {k: one for k, one in zip(range(wanted[-1] + 1), volume.data, strict=False) if k in wanted}
        return scans.compare(scan_features(slices, volume.spacing, task, full_scale))


def input_features(given: View | np.ndarray, task: Task) -> dict[str, float]:
    """The features of the input of a network that predicts; {} if there is no body in it.

    Parameters
    ----------
    given: the part of a CT that the network takes, or a photograph (3, row, column), 0 to 255, on the grid of the task.
    """
    if isinstance(given, np.ndarray):
        return photograph_features(given)
    body = find_body(given.array) if task.framing == "whole" else given.body
    spacing = np.linalg.norm(given.affine[:3, :3], axis=0)
    return body_features(given.array, body, spacing.tolist()) if body.any() else {}


def described_scans(description: Description, task: Task) -> TrainingScans | None:
    """The training scans of a task in the description of weights; None if it has none.

    Raises
    ------
    MedleyError: they are damaged.
    """
    if task.name not in description.training_scans:
        return None
    with reading_part(f"the training scans in the description of {description.name} are damaged"):
        return TrainingScans(Stored.model_validate(description.training_scans[task.name]), task)


def _distances(differences: np.ndarray) -> np.ndarray:
    """(scan, feature) -> (scan,): the power mean over the features that are defined; infinite if there is none."""
    defined = np.isfinite(differences)
    sums = np.where(defined, np.abs(differences), 0.0) ** _POWER
    count = defined.sum(axis=1)
    means = sums.sum(axis=1) / np.maximum(count, 1)
    return np.where(count > 0, means ** (1 / _POWER), np.inf)


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
