"""Studies to store: every good scan gets a degraded partner, and both are kept a slice at a time."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from medley.data.layouts import folder
from medley.data.layouts.study import Study
from medley.data.store import Entry, Store, StoreWriter
from medley.errors import MedleyError
from medley.inference import normalisation_for
from medley.io.files import read
from medley.physics import create_degradation
from medley.tasks import TASKS, Task, task_for_modality

LAYOUTS: Mapping[str, Callable[..., Any]] = {"folder": folder.studies}


def prepare(
    layout: str,
    source: str | Path,
    store: str | Path,
    *,
    table: str | Path | None = None,
    exclude: Sequence[str] = (),
    degradations: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> Store:
    """Make (or go on making) a store from the good scans of a data set.

    Parameters
    ----------
    layout: how the data set lies on disk, a key of `LAYOUTS`.
    source: the data set. store: folder to make.
    table: CSV with file, subject, split and modality, where the layout takes one.
    exclude: patterns (as in a shell) of source paths to leave out.
    degradations: {task: parameters} that replace the task's defaults, e.g. {"ct-denoise": {"dose": 0.1}}.
    seed: with a scan's name it decides all that is drawn for it, in whatever order the scans come.
    progress: called with (scans done, scans in all, name of the one at hand).

    Files that do not say their unit (NIfTI) are taken to be in that of the task: HU, SUV, or the scanner's for MR.

    Raises
    ------
    MedleyError: unknown layout; nothing to prepare; a person in two splits; a scan that cannot be read, that has no
        task, or that a previous run with other settings made.
    """
    if layout not in LAYOUTS:
        raise MedleyError(f"there is no layout {layout!r}; the layouts are {', '.join(LAYOUTS)}")
    found = LAYOUTS[layout](Path(source), table=Path(table) if table else None)
    studies = [study for study in found if not any(fnmatch(study.source, pattern) for pattern in exclude)]
    if not studies:
        raise MedleyError(f"{source} holds no scan to prepare; expected DICOM series or NIfTI files below it")
    _check_splits(studies)
    named = _with_ids(studies)
    specs = {name: {**task.degradation, **(degradations or {}).get(name, {})} for name, task in TASKS.items()}
    settings = {"layout": layout, "exclude": sorted(exclude), "degradations": specs, "seed": seed}
    writer = StoreWriter(store, settings)
    for k, (identifier, study) in enumerate(named.items()):
        progress(k, len(named), study.source)
        if identifier not in writer:
            _add(writer, identifier, study, specs, seed)
    progress(len(named), len(named), "")
    return Store(store)


def _add(writer: StoreWriter, identifier: str, study: Study, specs: Mapping[str, Any], seed: int) -> None:
    named = task_for_modality(study.modality)  # what the layout says where the file does not
    volume = read(study.scan, modality=study.modality or None, unit=named.unit if named else None)
    task = _task_of(study, volume.modality)
    degradation = create_degradation(**specs[task.name])
    parameters = degradation.draw(np.random.default_rng([seed, zlib.crc32(identifier.encode())]))
    degraded = degradation.apply(volume, parameters).load()
    reference = degradation.reference(volume, parameters).load()
    entry = Entry(
        id=identifier,
        subject=study.subject,
        split=study.split,
        task=task.name,
        modality=task.modality,
        unit=task.unit,
        shape=volume.shape,
        spacing=volume.spacing[1:],
        normalisation=normalisation_for(degraded, task),
        degradation={"name": degradation.name, "parameters": parameters},
        source=study.source,
    )
    writer.add(entry, zip(degraded.data, reference.data, strict=True))


def _task_of(study: Study, modality: str) -> Task:
    task = task_for_modality(modality)
    if task is None:
        known = ", ".join(sorted({task.modality for task in TASKS.values()}))
        raise MedleyError(
            f"{study.source} has modality {modality or 'unknown'!r}, expected one of {known}; name it in a table with "
            f"the columns file, subject and modality, or put the scan below a folder called ct, mr or pet"
        )
    return task


def _check_splits(studies: Sequence[Study]) -> None:
    split: dict[str, str] = {}
    for study in studies:
        if split.setdefault(study.subject, study.split) != study.split:
            raise MedleyError(
                f"{study.source}: subject {study.subject} is in {split[study.subject]!r} and in {study.split!r}; "
                f"a person belongs to one split only"
            )


def _with_ids(studies: Sequence[Study]) -> dict[str, Study]:
    """A name for every study's group: its path with nothing but letters, digits, '.', '_' and '-'."""
    named: dict[str, Study] = {}
    for study in sorted(studies, key=lambda study: study.source):
        stem = re.sub(r"\.(nii|nii\.gz|mha|nrrd|zip|dcm)$", "", study.source)
        uid = f"-{study.scan.series_uid}" if study.scan.series_uid else ""
        identifier = re.sub(r"[^\w.-]+", "-", stem + uid)
        if identifier in named:
            raise MedleyError(
                f"{study.source} and {named[identifier].source} would both be stored as {identifier}; rename one"
            )
        named[identifier] = study
    return named
