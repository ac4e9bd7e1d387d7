"""Measures what `--strength auto` does: `python -m benchmarks.strength SCAN ... -o FILE.csv`.

    python -m benchmarks.strength dicom/ct_crlm_1004 dicom/pet_sts_001 --slices 4 -o results/strength.csv

Contiguous slices of the middle of each good scan are restored with `auto`, as they are (share 1) and at `--shares` of
the dose or of the counts. Columns:

* share: of the dose or of the counts. strength: what was chosen.
* seconds_full, seconds: of a plain restoration and of `auto`.
* before, full, after: noise (`medley.inference.noise`) of the input, at full strength, and of the result, in `unit`.
* change, own: root mean square of result - input in the foreground (pixels above the mean of their slice), and the
  noise there, both in the unit of the scan; own is the noise of the same blocks times the mean for PET.
* psnr_input, psnr_full, psnr: by the papers' protocol against the good scan; empty where the scan is not degraded.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import medley
from benchmarks.quality.measures import body_change
from medley.inference.noise import NoiseCurve
from medley.inference.restorer import Restorer
from medley.metrics.image import score
from medley.physics import create_degradation
from medley.tasks import task_for_modality
from medley.volume import Volume

HEADERS = (
    "scan", "model", "share", "unit", "strength", "before", "full", "after", "change", "own",
    "psnr_input", "psnr_full", "psnr", "seconds_full", "seconds",
)  # fmt: skip


def middle_of(volume: Volume, slices: int) -> Volume:
    """Contiguous slices of the middle of a scan, in memory."""
    first = max((volume.shape[0] - slices) // 2, 0)
    return volume.with_data(np.asarray(volume.data)[first : first + slices])


def degraded(volume: Volume, share: float) -> Volume:
    """The scan at a share of the dose (CT) or of the counts (PET)."""
    task = task_for_modality(volume.modality)
    assert task is not None
    if share == 1:
        return volume
    amount = {"dose": share} if task.modality == "CT" else {"reduction": 1 / share}
    degradation = create_degradation(**{**task.degradation, **amount})
    return degradation.apply(volume, degradation.draw(np.random.default_rng(0))).load()


def measure(restorer: Restorer, good: Volume, given: Volume) -> dict[str, float | str]:
    """The columns of one scan, of which `given` is a degraded version."""
    begun = time.perf_counter()
    full = restorer.restore(given)
    middle = time.perf_counter()
    plan = restorer.plan(given, strength="auto")
    result = restorer.carry_out(plan).load()
    ended = time.perf_counter()
    curve = NoiseCurve(plan.task, plan.normalisation, given.spacing)
    values = [np.asarray(one.data) for one in (given, full, result)]
    for before, after in zip(values[0], values[1], strict=True):
        curve.add(before, after)
    levels = curve.levels([0, 1, plan.strength])
    assert levels is not None
    foreground = values[0][values[0] > values[0].mean(axis=(1, 2), keepdims=True)]
    own = levels[0] if plan.task.modality == "CT" else levels[0] / 100 * foreground.mean()
    row: dict[str, float | str] = {
        "unit": curve.unit,
        "strength": plan.strength,
        **dict(zip(("before", "full", "after"), (f"{one:.4g}" for one in levels), strict=True)),
        "change": f"{body_change(values[2], values[0]):.4g}",
        "own": f"{own:.4g}",
        "seconds_full": f"{middle - begun:.2f}",
        "seconds": f"{ended - middle:.2f}",
    }
    if given is not good:
        target = np.asarray(good.data)
        for name, one in zip(("psnr_input", "psnr_full", "psnr"), values, strict=True):
            row[name] = f"{score(one, target, plan.task, full_scale=plan.normalisation.high)['psnr']:.2f}"
    return row


def rows(
    scans: Sequence[Path], models: Sequence[str], shares: Sequence[float], slices: int
) -> Iterator[dict[str, float | str]]:
    """One row for each scan, share and model."""
    restorers = {name: medley.load(name) for name in models}
    for path in scans:
        scan = medley.read(path)
        if not scan.modality:
            scan = medley.read(path, modality="PT" if "pet" in path.name else "CT")
        task = task_for_modality(scan.modality)
        assert task is not None
        good = middle_of(scan.with_data(scan.data, unit=task.unit), slices)
        for share in shares:
            given = degraded(good, share)
            for name, restorer in restorers.items():
                yield {"scan": path.name, "model": name, "share": share, **measure(restorer, good, given)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", nargs="+", type=Path)
    parser.add_argument("--models", nargs="+", default=["slab", "tat-tiny"])
    parser.add_argument("--shares", nargs="+", type=float, default=[1.0, 0.1])
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    with options.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADERS, lineterminator="\n")
        writer.writeheader()
        for row in rows(options.scans, options.models, options.shares, options.slices):
            writer.writerow(row)
            file.flush()
            print(row, flush=True)


if __name__ == "__main__":
    main()
