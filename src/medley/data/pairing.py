"""Restoration records of measured pairs: a low- and a high-quality image of the same place."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from medley.data.layouts.study import RecordData
from medley.data.record import INPUT
from medley.data.simulation import stored
from medley.errors import MedleyError
from medley.inference.restorer import normalisation_for
from medley.io.files import Scan, open_scan, read
from medley.io.pickled import read_pickled_array
from medley.io.pictures import READS as PICTURES
from medley.runtime.text import did_you_mean
from medley.targets import IMAGE
from medley.tasks import TASKS, Task, task_for_modality
from medley.volume import Volume

PLAIN = (*PICTURES, ".bin")  # files without a geometry and a modality
CLOSE = 0.05  # voxels by which the corners of two grids may differ: rounding in headers

# What folders and tables of all layouts call the tasks, beside their names: modalities and the words of the papers,
# without "-".
_CALLED = {
    "mr": "MR", "mri": "MR", "ct": "CT", "pet": "PT", "pt": "PT", "xray": "DX", "dx": "DX", "cr": "DX", "us": "US",
    "ultrasound": "US", "oct": "OPT", "opt": "OPT", "path": "SM", "pathology": "SM", "histology": "SM", "sm": "SM",
}  # fmt: skip


def task_called(name: str, *, more: bool = False) -> Task | None:
    """The restoration task of a name, a modality or a word for it, in any case: "ct-denoise", "MRI", "X-ray".

    None if there is no such task. `more`: further words may follow, as in "PET_synthesis".
    """
    lower = name.lower()
    if lower in TASKS:
        return TASKS[lower]
    words = re.split(r"[\s_-]+", lower.replace("x-ray", "xray"))
    return task_for_modality(_CALLED[words[0]]) if words[0] in _CALLED and (more or len(words) == 1) else None


def read_pair(low: Scan, high: Scan, task: Task | None) -> RecordData:
    """The record of a pair: the input, and the target "image".

    Files that do not state their modality and unit (NIfTI, arrays) are assumed to have those of the task; pictures hold
    grey levels, so they are refused for tasks in HU, SUV or scanner units.

    Parameters
    ----------
    low, high: of low and high quality, on the same grid. task: None for that of the modality of `low`.

    Raises
    ------
    MedleyError: a file cannot be read; its modality or unit is not that of the task; the modality is unknown; the
        grids differ.
    """
    if task is None:
        task = _task_of(low)
    inputs, target = (read_for(one, task) for one in (low, high))
    check_same_grid(inputs, target, low.path, high.path)
    return record_of(inputs, target, task, low.path)


def read_for(scan: Scan, task: Task) -> Volume:
    """A scan, a picture or a pickled array, with the modality and the unit of a task."""
    if scan.path.suffix.lower() == ".bin":
        return replace(_array(scan.path), modality=task.modality, unit=task.unit)
    return read(scan, modality=task.modality, unit=task.unit)


def record_of(low: Volume, high: Volume, task: Task, where: Path) -> RecordData:
    """The record of two volumes on the same grid, normalised by the input as when a scan is restored."""
    try:
        normalisation = normalisation_for(low, task)
    except MedleyError as error:
        raise MedleyError(f"{where}: {error}") from None
    plain = where.suffix.lower() in PLAIN
    return RecordData(
        {INPUT: stored(low.data), IMAGE: stored(high.data)},
        spacing=() if plain else low.spacing,
        task=task.name,
        normalisation=normalisation,
    )


def check_same_grid(low: Volume, high: Volume, low_name: object, high_name: object) -> None:
    """Raise MedleyError unless the two volumes have the same shape, spacing and position.

    The message names both files and the first of these that differs. Positions may differ by `CLOSE` voxels.
    """
    both = f"{low_name} and {high_name} are not on the same grid"
    advice = "resample one of them, or leave the pair out with --exclude"
    if low.shape != high.shape:
        raise MedleyError(f"{both}: the shapes are {low.shape} and {high.shape} (slice, row, column); {advice}")
    if not np.allclose(low.spacing, high.spacing, rtol=1e-3):
        a, b = (" x ".join(f"{mm:.4g}" for mm in one.spacing) for one in (low, high))
        raise MedleyError(f"{both}: the spacings are {a} and {b} mm (slice, row, column); {advice}")
    if (distance := _distance(low, high)) > CLOSE:
        raise MedleyError(
            f"{both}: their affines place the same voxel up to {distance:.3g} voxels apart (at most {CLOSE} is "
            f"allowed); {advice}"
        )


def _distance(low: Volume, high: Volume) -> float:
    """The largest distance of a corner in the two volumes, in voxels of the smallest side."""
    corners = np.stack(np.meshgrid(*((0, n - 1) for n in low.shape), [1], indexing="ij")).reshape(4, -1)
    apart = (low.affine - high.affine) @ corners
    return float(np.linalg.norm(apart[:3], axis=0).max() / min(low.spacing))


def _array(path: Path) -> Volume:
    """A pickled array of one slice or several as a volume; axes of length 1 around a slice are removed."""
    values = read_pickled_array(path)
    slices = values.squeeze() if values.ndim != 3 else values
    slices = slices.squeeze(-1)[None] if slices.ndim == 3 and slices.shape[-1] == 1 else slices
    slices = slices[None] if slices.ndim == 2 else slices
    if slices.ndim != 3 or np.iscomplexobj(slices):
        raise MedleyError(
            f"{path}: has the shape {values.shape} and the type {values.dtype}; expected real numbers (row, column) "
            "or (slice, row, column)"
        )
    if not np.isfinite(slices).all():
        raise MedleyError(f"{path}: has values that are not finite; make the file again")
    return Volume(slices.astype(np.float32), np.eye(4))


def _task_of(scan: Scan) -> Task:
    """The task of the modality that a file states."""
    modality = "" if scan.path.suffix.lower() in PLAIN else open_scan(scan).modality
    if task := task_for_modality(modality):
        return task
    raise MedleyError(
        f"{scan.path}: has modality {modality or 'unknown'!r}, so its task is unknown; put the pair below a folder "
        f"with the name of a task ({', '.join(TASKS)}), or give a table with the column task"
    )


def checked_task(name: str, where: str) -> Task | None:
    """The task of a cell of a table; None if it is empty.

    Raises
    ------
    MedleyError: there is no such task; `where` begins the message.
    """
    if not name:
        return None
    if task := task_called(name):
        return task
    raise MedleyError(
        f"{where}: there is no task {name!r}; the tasks are {', '.join(TASKS)}{did_you_mean(name, TASKS)}"
    )
