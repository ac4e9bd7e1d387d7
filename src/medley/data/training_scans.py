"""The description of the training scans of a network, computed from the store that it was trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from medley.data.record import INPUT, Record
from medley.data.store import Store
from medley.errors import MedleyError
from medley.geometry.body import DIRECTIONS
from medley.inference.predictor import view_scan
from medley.inference.training_scans import FEWEST, input_features
from medley.metrics.features import compared_slices, scan_features
from medley.tasks import Task
from medley.volume import Volume

LARGEST = 400  # scans that are described for a task: more need space and hardly change what is found
_DIGITS = 6  # of a stored value: 1 - r of a correlation r near 1 needs that many

Progress = Callable[[int, int, str], None]


def describe_scans(store: Store, tasks: Iterable[str], progress: Progress = lambda *_: None) -> dict[str, Any]:
    """The training scans of a store, as `medley.models.weights.Description.training_scans` has them.

    A task without enough training subjects (`FEWEST`), or whose input is neither scans nor colour photographs, is left
    out. Of more than `LARGEST` records of a task some are drawn at random, always the same ones.

    Parameters
    ----------
    tasks: names of tasks in the store. progress: called with (records done, their number, the current one).
    """
    chosen = {name: _drawn(store.records("train", name)) for name in tasks if _describable(store, name)}
    chosen = {name: found for name, found in chosen.items() if len({one.subject for one in found}) >= FEWEST}
    total, done = sum(map(len, chosen.values())), 0
    described = {}
    for name, records in chosen.items():
        found = []
        for record in records:
            progress(done, total, record.id)
            found.append(record_features(store, record))
            done += 1
        numbers = {subject: k for k, subject in enumerate(dict.fromkeys(record.subject for record in records))}
        features = list(dict.fromkeys(feature for one in found for feature in one))
        described[name] = {
            "features": features,
            "scans": [[_rounded(one.get(feature)) for feature in features] for one in found],
            "subjects": [numbers[record.subject] for record in records],
        }
    return described


def record_features(store: Store, record: Record) -> dict[str, float]:
    """The features of the input of a record, as they are computed for a scan to restore or to predict from.

    A record without a body, of a task that needs one, has no features.

    Raises
    ------
    MedleyError: the input cannot be read.
    """
    task, array = store.task(record), store.array(record, INPUT)
    if task.restores:
        slices = {k: array[0, k] for k in compared_slices(record.shape[0])}
        return scan_features(slices, record.spacing, task, record.normalisation.high)
    if not task.modality:
        return input_features(array[...], task)
    affine = np.eye(4)
    affine[:3, :3] = DIRECTIONS * np.array(record.spacing)
    scan = Volume(array[0], affine, task.modality, task.unit)
    try:
        view = view_scan(scan, task)
    except MedleyError:  # no body
        return {}
    return input_features(view, task)


def _describable(store: Store, name: str) -> bool:
    task = store.manifest.tasks.get(name)
    return task is not None and (task.restores or _is_photograph(task) or task.unit == "HU")


def _is_photograph(task: Task) -> bool:
    return not task.modality and len(task.channels) == 3


def _drawn(records: list[Record]) -> list[Record]:
    if len(records) <= LARGEST:
        return records
    chosen = np.random.default_rng(0).choice(len(records), LARGEST, replace=False)
    return [records[k] for k in sorted(chosen)]


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.{_DIGITS}g}")
