"""Measures how restoration changes scans that are already good: `python -m benchmarks.good_scans SCAN ... -o FILE.csv`.

Each scan is restored at full strength without being degraded first, and compared with itself:

* rms, mean: root of the mean squared change and mean change over the body, in the scan's unit.
* low, high: the amplitude kept at low (0.02 to 0.5 of the Nyquist frequency) and at high in-plane spatial frequencies
  (0.5 to 1): the root of the ratio of the power after and before, over all slices. 1 is unchanged.
* peaks, peak_change_percent: PET only. The number of local maxima (3 x 3 x 3 voxels) above 2.5 SUV, and the median
  change of their value.

Limits for these and other scans are checked by `benchmarks.restoration_quality`.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy import ndimage

import medley
from benchmarks.quality.measures import amplitudes_kept

HEADERS = ("scan", "model", "unit", "slices", "rms", "mean", "low", "high", "peaks", "peak_change_percent")
BODY = {"CT": -500.0, "MR": 0.0, "PT": 0.1}  # values above belong to the body
HOT = 2.5  # SUV


def measure(scan: medley.Volume, restored: medley.Volume) -> dict[str, float | int | str]:
    """The row of one scan without its name and model."""
    before, after = np.asarray(scan.data, np.float64), np.asarray(restored.data, np.float64)
    body = before > BODY[scan.modality]
    change = (after - before)[body]
    low, high = amplitudes_kept(before, after)
    row: dict[str, float | int | str] = {
        "unit": restored.unit,
        "slices": len(before),
        "rms": f"{np.sqrt(np.square(change).mean()):.4g}",
        "mean": f"{change.mean():.4g}",
        "low": f"{low:.3f}",
        "high": f"{high:.3f}",
    }
    if scan.modality == "PT":
        peaks = (before == ndimage.maximum_filter(before, 3)) & (before > HOT)
        row |= {
            "peaks": int(peaks.sum()),
            "peak_change_percent": f"{100 * np.median(after[peaks] / before[peaks] - 1):.1f}",
        }
    return row


def measure_all(paths: Iterable[Path], models: Iterable[str]) -> list[dict[str, float | int | str]]:
    """One row for each scan and model."""
    rows = []
    for path in paths:
        scan = medley.read(path)
        for name in models:
            restored = medley.load(name).restore(scan)
            rows.append({"scan": path.name, "model": name, **measure(scan, restored)})
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", nargs="+", type=Path)
    parser.add_argument("--models", nargs="+", default=["slab", "tat-tiny", "amir-tiny"])
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    rows = measure_all(options.scans, options.models)
    with options.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADERS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
