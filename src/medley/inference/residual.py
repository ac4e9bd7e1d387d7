"""Was anatomy removed? A test of what a restoration changed, while its slices are written.

Measures, each for the whole scan, and the regions where more was removed or added than noise explains
(`medley.metrics.residual`). docs/trust.md states how often good restorations are flagged, and what is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage

from medley.inference.plan import RestorationPlan
from medley.metrics import residual
from medley.metrics.physical import HOT, OBJECT
from medley.metrics.tissue import tissue

LIMITS = {"CT": 6.0, "PT": 10.0}  # standard deviations, of the score of a region; by `benchmarks.removed`
OTHER_LIMIT = 8.0  # of other modalities, not tested on scans
APART_MM = 12.0  # regions nearer to a stronger one belong to it
MOST = 12  # regions that are kept
CROP = 24  # pixels, half of the side of the close-ups
KEPT_PEAK = 0.7  # the least share of a hot spot that is kept
CLASSES = {  # HU, SUV, and shares of the full scale
    "CT": {"fat": (-150.0, -30.0), "soft tissue": (0.0, 100.0), "bone": (200.0, 1500.0)},
    "PT": {"low uptake": (OBJECT, 1.0), "medium uptake": (1.0, HOT), "high uptake": (HOT, np.inf)},
    "": {"dark": (0.05, 1 / 3), "medium": (1 / 3, 2 / 3), "bright": (2 / 3, np.inf)},
}


@dataclass(frozen=True)
class Region:
    """A place where more was changed than noise explains.

    Attributes
    ----------
    kind: "removed", "added", "hot spot lost" or "hot spot created".
    slice, row, column: from 0. position: RAS mm.
    score: in standard deviations of noise; 0 for hot spots. change: after - before there, in the unit of the scan.
    crops: before and after, around the place, (row, column).
    """

    kind: str
    slice: int
    row: int
    column: int
    position: tuple[float, float, float]
    score: float
    change: float
    crops: tuple[np.ndarray, np.ndarray] = field(repr=False, compare=False)

    def record(self) -> dict[str, Any]:
        """As plain JSON values, without the pictures."""
        values = asdict(self)
        del values["crops"]
        return values | {"score": round(self.score, 2), "change": float(f"{self.change:.4g}")}


class ResidualTest:
    """A callback for the slices of a restoration, in order; its memory does not grow with their number.

    Parameters
    ----------
    plan: of the restoration. limit: of the score of a region; None for that of `LIMITS`.
    """

    def __init__(self, plan: RestorationPlan, limit: float | None = None) -> None:
        self.plan = plan
        self._limit = LIMITS.get(plan.task.modality, OTHER_LIMIT) if limit is None else limit
        self._regions: list[Region] = []
        self._edges, self._measured = np.zeros(2), np.zeros(2)
        self._classes: dict[str, np.ndarray] = {}

    def __call__(self, k: int, before: np.ndarray, after: np.ndarray) -> None:
        """Test slice `k`, (row, column) before and after."""
        if np.array_equal(before, after):
            return
        smooth = ndimage.uniform_filter(np.asarray(before, np.float32), 5)
        inside = tissue(before, self.plan.task, self.plan.normalisation.high)
        removed = np.asarray(before, np.float32) - after
        # Super-resolution adds detail at every edge, which is not suspicious.
        found = [] if self.plan.task.name.endswith("-sr") else residual.peaks(removed, inside, self._limit)
        for peak in found[:MOST]:
            less = abs(_contrast(after, peak)) < abs(_contrast(before, peak))
            kind = "removed" if less else "added"
            self._keep(kind, (k, peak.row, peak.column), abs(peak.score), peak.change, before, after)
        if self.plan.task.modality == "PT":
            self._compare_hot_spots(k, before, after)
        self._edges += residual.edge_loss(removed, after, inside)
        if self.plan.task.modality == "MR" and self.plan.measured is not None:
            self._measured += residual.measured_change(before, after, self.plan.measured)
        for name, (low, high) in self._limits().items():
            of = (smooth >= low) & (smooth < high) & inside  # smooth, because noise would select itself
            sums = np.array([of.sum(), -removed[of].sum(dtype=np.float64)])
            self._classes[name] = self._classes.get(name, np.zeros(2)) + sums

    @property
    def regions(self) -> list[Region]:
        """The flagged regions, the strongest first, at most `MOST`."""
        return self._regions

    def record(self) -> dict[str, Any]:
        """The measures and regions as plain JSON values; None where a measure is not defined.

        edge_loss: the share of the steepest edges that was removed. shift: {tissue class: mean of after - before}, in
        the unit of the scan; by HU, SUV, or thirds of the full scale. measured_change: relative root mean square change
        of the measured part of k-space.
        """
        removed, edges = self._edges
        changed, power = self._measured
        return {
            "edge_loss": round(float(removed / edges), 4) if edges else None,
            "shift": {name: float(f"{total / n:.4g}") for name, (n, total) in self._classes.items() if n},
            "measured_change": float(f"{np.sqrt(changed / power):.4g}") if power else None,
            "regions": [{"number": n, **one.record()} for n, one in enumerate(self._regions, 1)],
        }

    def _limits(self) -> dict[str, tuple[float, float]]:
        modality = self.plan.task.modality
        if modality in CLASSES:
            return CLASSES[modality]
        high = self.plan.normalisation.high
        return {name: (low * high, upper * high) for name, (low, upper) in CLASSES[""].items()}

    def _compare_hot_spots(self, k: int, before: np.ndarray, after: np.ndarray) -> None:
        """Hot spots: maxima of the mean of 3 x 3 pixels, which single noisy pixels hardly change."""
        old, new = (ndimage.uniform_filter(np.asarray(one, np.float32), 3) for one in (before, after))
        for kind, one, other in (("hot spot lost", old, new), ("hot spot created", new, old)):
            highest = one == ndimage.maximum_filter(one, 5)
            nearby = ndimage.maximum_filter(other, 3)
            for r, c in zip(*np.nonzero(highest & (one > HOT) & (nearby < KEPT_PEAK * one)), strict=True):
                self._keep(kind, (k, int(r), int(c)), 0.0, float(new[r, c] - old[r, c]), before, after)

    def _keep(self, kind: str, at: tuple[int, int, int], score: float, change: float, *pair: np.ndarray) -> None:
        """Add a region `at` (slice, row, column) of a pair of slices, unless a stronger one is near.

        Weaker ones near it are dropped.
        """
        rank = kind.startswith("hot"), score, abs(change)
        place = self.plan.before.affine @ (*at, 1)
        position = (round(float(place[0]), 1), round(float(place[1]), 1), round(float(place[2]), 1))
        near = [one for one in self._regions if np.linalg.norm(np.subtract(one.position, position)) < APART_MM]
        if any(_rank(one) >= rank for one in near):
            return
        corner = [max(0, min(one - CROP, size - 2 * CROP)) for one, size in zip(at[1:], pair[0].shape, strict=True)]
        part = tuple(slice(first, first + 2 * CROP) for first in corner)
        crops = pair[0][part].copy(), pair[1][part].copy()
        rest = [one for one in self._regions if one not in near]
        region = Region(kind, *at, position, score, change, crops)
        self._regions = sorted([*rest, region], key=_rank, reverse=True)[:MOST]


def _contrast(image: np.ndarray, peak: residual.Peak) -> float:
    """The mean of 3 x 3 pixels minus the median of the surroundings."""
    centre, around = (
        image[max(peak.row - reach, 0) : peak.row + reach + 1, max(peak.column - reach, 0) : peak.column + reach + 1]
        for reach in (1, round(4 * peak.scale))
    )
    return float(centre.mean() - np.median(around))


def _rank(region: Region) -> tuple[bool, float, float]:
    """Hot spots come first, then the highest score."""
    return region.kind.startswith("hot"), region.score, abs(region.change)


def summary(regions: Sequence[Region]) -> str:
    """The result in words."""
    if not regions:
        return "nothing suspicious found in what was removed"
    kinds = sorted({one.kind for one in regions})
    counts = [f"{sum(one.kind == kind for one in regions)} {kind}" for kind in kinds]
    return f"regions to look at: {', '.join(counts)}"
