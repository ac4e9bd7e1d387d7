"""Measures the test of what was removed: `python -m benchmarks.removed SCAN ... -o FILE.csv`.

    python -m benchmarks.removed ct/valid/openkbp_pt_2*.nii.gz pet/valid/sts_0*_pet.nii.gz -o results/removed.csv

Contiguous slices of the middle of good scans are degraded to a share of the dose or counts and restored by `slab`.
Columns:

* kind "false alarm": `contrast` and `diameter_mm` are 0. Else "removed": a round structure was added to the input of
  one slice after the network had run, so the restored scan lacks it; 12 places for each scan, contrast and size. It
  has the profile of a Gaussian of that full width at half maximum and the contrast in its centre, HU or SUV.
* cases: slices or structures; found_L for L of 5, 6, 8 and 10: slices with a flagged region, or structures with one
  within 10 mm, at that limit of the score (`medley.inference.residual.LIMITS`).
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import medley
from benchmarks.strength import degraded, middle_of
from medley.inference.residual import ResidualTest
from medley.inference.restorer import Restorer
from medley.tasks import task_for_modality
from medley.volume import Volume

LIMITS = (5.0, 6.0, 8.0, 10.0)
NEAR_MM = 10.0
PLACES = 12
CONTRASTS = {"CT": (30.0, 60.0, 120.0, 240.0), "PT": (0.5, 1.0, 2.0, 4.0)}  # HU, SUV
DIAMETERS = {"CT": (6.0, 10.0, 16.0), "PT": (10.0, 16.0)}  # mm
HEADERS = ("scan", "share", "kind", "contrast", "diameter_mm", "cases", *(f"found_{limit:g}" for limit in LIMITS))


def measure(restorer: Restorer, good: Volume, share: float, structures: bool) -> Iterator[dict[str, float | str]]:
    """The rows of one scan; without `structures`, only that of false alarms."""
    given = degraded(good, share)
    plan = restorer.plan(given)
    before, after = (np.asarray(one.data) for one in (given, restorer.carry_out(plan).load()))
    flagged = np.zeros(len(LIMITS), int)
    for k in range(len(before)):
        flagged += _flags(plan, k, before[k], after[k])
    yield {"kind": "false alarm", "contrast": 0, "diameter_mm": 0, "cases": len(before), **_found(flagged)}
    if not structures:
        return
    low = {"CT": 0.0, "PT": 0.5}[given.modality]
    rng = np.random.default_rng(0)
    bodies = np.argwhere((np.asarray(good.data) > low) & (np.asarray(good.data) < 100))
    rows, columns = np.indices(before.shape[1:])
    pixel = float(np.mean(good.spacing[1:]))
    for diameter in DIAMETERS[given.modality]:
        for contrast in CONTRASTS[given.modality]:
            flagged = np.zeros(len(LIMITS), int)
            for k, r, c in rng.choice(bodies, PLACES):
                width = diameter / 2.355 / pixel
                blob = contrast * np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / (2 * width**2))
                flagged += _flags(plan, k, before[k] + blob.astype(np.float32), after[k], (r, c), NEAR_MM / pixel)
            yield {"kind": "removed", "contrast": contrast, "diameter_mm": diameter, "cases": PLACES, **_found(flagged)}


def _flags(plan, k, before, after, place=None, near=0.0) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Whether a slice has a flagged region, near a place if one is given, at each limit."""
    test = ResidualTest(plan, LIMITS[0])
    test(int(k), before, after)
    scores = [
        one.score if not one.kind.startswith("hot") else np.inf
        for one in test.regions
        if place is None or np.hypot(one.row - place[0], one.column - place[1]) <= near
    ]
    return np.array([max(scores, default=0.0) >= limit for limit in LIMITS], int)


def _found(flagged: np.ndarray) -> dict[str, int]:
    return {f"found_{limit:g}": int(count) for limit, count in zip(LIMITS, flagged, strict=True)}


def rows(
    scans: Sequence[Path], shares: Sequence[float], slices: int, structures: bool
) -> Iterator[dict[str, float | str]]:
    """The rows of all scans."""
    restorer = medley.load("slab")
    for path in scans:
        modality = "PT" if "pet" in path.name else "CT"
        task = task_for_modality(modality)
        assert task is not None
        good = middle_of(medley.read(path, modality=modality, unit=task.unit), slices)
        for share in shares:
            for row in measure(restorer, good, share, structures):
                yield {"scan": path.name, "share": share, **row}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", nargs="+", type=Path)
    parser.add_argument("--shares", nargs="+", type=float, default=[0.25])
    parser.add_argument("--slices", type=int, default=9)
    parser.add_argument("--alarms-only", action="store_true", help="no structures")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    with options.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADERS, lineterminator="\n")
        writer.writeheader()
        for row in rows(options.scans, options.shares, options.slices, not options.alarms_only):
            writer.writerow(row)
            file.flush()


if __name__ == "__main__":
    main()
