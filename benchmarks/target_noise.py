"""Measures the noise of good scans, the targets of training: `python -m benchmarks.target_noise SCANS -o FILE.csv`.

    python -m benchmarks.target_noise shared/data --table recipes/scans.csv -o results/target-noise.csv

A row for each training scan of CT, MR and PET: its task, the side of a pixel in mm, its noise and the unit
(`medley.inference.noise`). The medians are printed; `medley.inference.strength` has them for the packaged networks.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import medley
from medley.data.layouts.tables import read_table
from medley.inference.noise import measured_slices, noise_of_slices, noise_unit
from medley.inference.restorer import normalisation_for
from medley.tasks import VOLUME_TASKS, task_for_modality

HEADERS = ("scan", "task", "pixel_mm", "noise", "unit")


def measure(folder: Path, table: Path) -> Iterator[dict[str, str]]:
    """The rows of the training scans of a table, in which the paths of files are relative to a folder."""
    for row in read_table(table, ("file", "subject", "split", "modality"), each="scan"):
        cells = row.cells
        modality = "PT" if cells["modality"] == "PET" else cells["modality"]
        task = task_for_modality(modality)
        if cells["split"] != "train" or task is None or task.name not in VOLUME_TASKS:
            continue
        volume = medley.read(folder / cells["file"], modality=modality, unit=task.unit)
        slices = np.asarray(volume.data)[list(measured_slices(volume.shape[0]))]
        found = noise_of_slices(slices, task, normalisation_for(volume, task), volume.spacing)
        if found is not None:
            pixel = f"{np.mean(volume.spacing[1:]):.2f}"
            values = cells["file"], task.name, pixel, f"{found:.4g}", noise_unit(task)
            yield dict(zip(HEADERS, values, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path, help="the folder of the scans in the table")
    parser.add_argument("--table", type=Path, default=Path("recipes/scans.csv"))
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    rows = list(measure(options.scans, options.table))
    with options.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADERS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for task in sorted({row["task"] for row in rows}):
        found = [float(row["noise"]) for row in rows if row["task"] == task]
        low, median, high = np.quantile(found, (0.25, 0.5, 0.75))
        print(f"{task}: {len(found)} scans, median {median:.3g}, quartiles {low:.3g} and {high:.3g}")


if __name__ == "__main__":
    main()
