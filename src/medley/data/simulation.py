"""Restoration records: a good scan and a degraded version of it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from medley.data.layouts.study import RecordData, Study
from medley.data.record import INPUT
from medley.errors import MedleyError
from medley.inference.restorer import normalisation_for
from medley.io.files import read
from medley.physics import create_degradation
from medley.targets import IMAGE
from medley.tasks import TASKS, Task, modality_of, task_for_modality, task_named
from medley.volume import Volume


def simulate(
    study: Study,
    identifier: str,
    degradations: Mapping[str, Mapping[str, Any]],
    seed: int,
    slices: int | None = None,
) -> RecordData:
    """The record of a good scan.

    Parameters
    ----------
    identifier: of the record; it determines all random numbers, together with `seed`.
    degradations: {task: name and parameters}.
    slices: the most slices of the record, which are contiguous; None: all.

    Raises
    ------
    MedleyError: as `read_study`.
    """
    volume, task = read_study(study)
    degradation = create_degradation(**degradations[task.name])
    place = [seed, zlib.crc32(identifier.encode())]
    parameters = degradation.draw(np.random.default_rng(place))
    if slices is not None and volume.shape[0] > slices:
        volume = _part(volume, int(np.random.default_rng([*place, 1]).integers(volume.shape[0] - slices + 1)), slices)
    degraded = degradation.apply(volume, parameters).load()
    reference = degradation.reference(volume, parameters).load()
    return RecordData(
        {INPUT: stored(degraded.data), IMAGE: stored(reference.data)},
        spacing=volume.spacing,
        task=task.name,
        normalisation=normalisation_for(degraded, task),
        degradation={"name": degradation.name, "parameters": parameters},
    )


def read_study(study: Study) -> tuple[Volume, Task]:
    """A good scan, in memory, and its task.

    Files that do not state their unit (NIfTI) are assumed to have that of the task: HU, SUV, or the scanner's for MR.

    Raises
    ------
    MedleyError: the scan cannot be read, or there is no task for its modality.
    """
    stated = task_for_modality(study.modality)
    volume = read(study.scan, modality=study.modality or None, unit=stated.unit if stated else None)
    return volume, _task_of(study, volume.modality)


def _part(volume: Volume, first: int, count: int) -> Volume:
    """Contiguous slices of a volume in memory."""
    affine = volume.affine.copy()
    affine[:, 3] += first * affine[:, 0]
    return volume.with_data(np.asarray(volume.data)[first : first + count], affine=affine)


def stored(data: Any) -> np.ndarray:
    """The array of a store: (slice, row, column) -> (1, slice, row, column) float32."""
    return np.asarray(data, np.float32)[None]


def _task_of(study: Study, modality: str) -> Task:
    task = task_for_modality(modality)
    if study.task and task_named(study.task).modality == modality_of(modality):
        return task_named(study.task)
    if task is None:
        known = ", ".join(sorted({task.modality for task in TASKS.values()}))
        raise MedleyError(
            f"{study.source} has modality {modality or 'unknown'!r}, expected one of {known}; name it in a table with "
            "the columns file, subject and modality, or put the scan below a folder with the name of its modality, "
            "such as ct, mri, pet, x-ray, ultrasound, oct or pathology"
        )
    return task
