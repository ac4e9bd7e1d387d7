"""How often valid scans are reported as unlike the training scans, and foreign ones are recognised.

    python -m benchmarks.unlike_scans MODEL ... --store STORE ... --data DATA -o results/unlike-scans.csv

Valid are the inputs of all records of the validation and test subjects in the stores, of which no subject was used for
training or for the limit; for the head-and-neck networks also patients at full resolution. Good scans are whole DICOM
series of full quality: a restorer that was trained on one strength only should report them. The foreign inputs are in
`benchmarks.unlike`. An input that other checks refuse counts as recognised.

Two tables are written: every input (-o), and the rates for each kind (the same name with -rates).
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.unlike.bodies import foreign_bodies
from benchmarks.unlike.photographs import foreign_photographs
from benchmarks.unlike.scans import Foreign, foreign_scans
from medley.data.layouts.openkbp import read_patient
from medley.data.record import INPUT
from medley.data.store import Store
from medley.data.training_scans import record_features
from medley.errors import MedleyError
from medley.geometry.body import DIRECTIONS
from medley.geometry.resampling import to_size
from medley.inference.loading import find
from medley.inference.predictor import view_scan
from medley.inference.restorer import normalisation_for
from medley.inference.training_scans import (
    Likeness,
    RestorableScans,
    TrainingScans,
    described_scans,
    input_features,
)
from medley.io.files import find_scans, open_scan
from medley.models import weights
from medley.tasks import TASKS, Task
from medley.volume import Volume

HEADERS = ("model", "task", "group", "kind", "name", "outcome", "distance", "limit", "reason")
RATES = ("model", "task", "group", "kind", "inputs", "reported", "percent")
HELD_OUT = ("valid", "test")
FULL = {"valid": "valid", "test": "test"}  # folders of patients at full resolution
Row = dict[str, Any]


def measure(model: str, stores: Sequence[Store], data: Path, pages: Path) -> Iterator[Row]:
    """The rows of a model."""
    description = weights.describe(find(model))
    own = Task.model_validate(dict(description.task)) if description.task else None
    for task in [own] if own else [TASKS[name] for name in description.tasks]:
        scans = described_scans(description, task)
        store = next((one for one in stores if one.records(task=task.name)), None)
        if scans is None or store is None:
            print(f"{model}: {task.name}: no description, or no store", flush=True)
            continue
        named = {"model": description.name, "task": task.name}
        for row in _rows(scans, description, task, store, data, pages):
            yield named | {"limit": f"{scans.limit:.4f}"} | row


def _rows(
    scans: TrainingScans, description: weights.Description, task: Task, store: Store, data: Path, pages: Path
) -> Iterator[Row]:
    for split in HELD_OUT:
        for record in store.records(split, task.name):
            likeness = scans.compare(record_features(store, record))
            yield _row("valid", f"{split} subject", record.id, likeness, description.name)
    more, foreign = _inputs(task, store, data, pages)
    restorable = RestorableScans(description)
    for group, inputs in {"good scans" if task.restores else "valid": more, "foreign": foreign}.items():
        for one in inputs:
            try:
                likeness = _compared(one, scans, restorable, task)
            except MedleyError as error:
                refused = {"outcome": "refused", "distance": "", "reason": str(error)}
                yield {"group": group, "kind": one.kind, "name": one.name} | refused
                continue
            yield _row(group, one.kind, one.name, likeness, description.name)


def _inputs(task: Task, store: Store, data: Path, pages: Path) -> tuple[Iterable[Foreign], Iterable[Foreign]]:
    """The valid inputs beside those of the store, and the foreign ones."""
    if task.restores:
        series = [] if task.modality not in ("CT", "MR", "PT") else find_scans(data / "dicom")
        opened = [(one.name, open_scan(one)) for one in series]
        whole = [Foreign("whole series", name, scan) for name, scan in opened if scan.modality == task.modality]
        return whole, foreign_scans(task.name, data) if task.modality in ("CT", "MR", "PT") else []
    if not task.modality:
        return [], foreign_photographs(sorted((data / "skin/valid/images").glob("*.jpg")), data, pages)
    full = [
        Foreign(f"{split} subject, full resolution", path.stem, _patient(path))
        for split, folder in FULL.items()
        for path in sorted((data / "openkbp/full" / folder).glob("*.npz"))
    ]
    patients = [(one.name, one.scan) for one in full if isinstance(one.scan, Volume)]
    patients += [(record.id, _stored(store, record)) for record in store.records("valid", task.name)]
    return full, foreign_bodies(patients, data)


def _compared(one: Foreign, scans: TrainingScans, restorable: RestorableScans, task: Task) -> Likeness:
    """The likeness of an input, computed as `medley restore` and `medley predict` do it."""
    if task.restores:
        assert isinstance(one.scan, Volume)
        found = restorable.compare(one.scan, task, normalisation_for(one.scan, task).high)
        if found is None:
            raise MedleyError("too small")
        return found
    if isinstance(one.scan, Volume):
        return scans.compare(input_features(view_scan(one.scan, task), task))
    return scans.compare(input_features(to_size(np.moveaxis(one.scan, -1, 0), task.grid), task))


def _patient(path: Path) -> Volume:
    patient = read_patient(path, 128)
    axes = patient.voxel[2], patient.voxel[0], patient.voxel[1]
    return _head_to_feet(patient.ct.transpose(2, 0, 1) - 1000.0, axes)


def _stored(store: Store, record: Any) -> Volume:
    return _head_to_feet(store.array(record, INPUT)[0], record.spacing)


def _head_to_feet(hu: np.ndarray, spacing: Sequence[float]) -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = DIRECTIONS * np.array(spacing)
    return Volume(np.ascontiguousarray(hu, np.float32), affine, "CT", "HU")


def _row(group: str, kind: str, name: str, likeness: Likeness, model: str) -> Row:
    return {
        "group": group,
        "kind": kind,
        "name": name,
        "outcome": "like" if likeness.alike else "unlike",
        "distance": f"{likeness.distance:.4f}",
        "reason": "" if likeness.alike else likeness.sentence(model),
    }


def rates(rows: Sequence[Row]) -> list[Row]:
    """The number of inputs and how many were reported, for each kind, and for all kinds of a group together."""
    found: dict[tuple[str, ...], list[bool]] = {}
    for row in rows:
        reported = row["outcome"] != "like"
        for kind in (row["kind"], "all"):
            found.setdefault((row["model"], row["task"], row["group"], kind), []).append(reported)
    ordered = sorted(found.items(), key=lambda item: (item[0][:2], item[0][2] != "valid", item[0][3] != "all"))
    return [
        dict(zip(RATES, (*key, len(one), sum(one), f"{100 * np.mean(one):.1f}"), strict=True)) for key, one in ordered
    ]


def _write(path: Path, headers: Sequence[str], rows: Iterable[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, headers, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="packaged models or weights files")
    parser.add_argument("--store", type=Path, action="append", required=True, help="a store with held-out subjects")
    parser.add_argument("--data", type=Path, required=True, help="holds restoration, openkbp, skin, dicom and more")
    parser.add_argument("--pages", type=Path, default=Path("docs/pictures"), help="pictures that are no photographs")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    stores = [Store(path) for path in options.store]
    rows = [row for model in options.models for row in measure(model, stores, options.data, options.pages)]
    table = rates(rows)
    _write(options.output, HEADERS, rows)
    _write(options.output.with_stem(f"{options.output.stem}-rates"), RATES, table)
    for row in table:
        print(*row.values(), sep="\t")


if __name__ == "__main__":
    main()
