"""Data sets to stores.

Of a data set of good scans, every scan gets a degraded partner, and both are kept a slice at a time. Of a data set with
targets, every case is kept with what is asked of it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from medley.data.layouts import folder
from medley.data.layouts.study import CaseFiles, Study
from medley.data.store import Case, Entry, Store, StoreWriter
from medley.errors import MedleyError
from medley.inference.restorer import normalisation_for
from medley.io.files import read
from medley.physics import create_degradation
from medley.problems import Problem
from medley.runtime.locks import locked
from medley.runtime.text import did_you_mean
from medley.tasks import TASKS, Task, task_for_modality

Found = TypeVar("Found", Study, CaseFiles)
Progress = Callable[[int, int, str], None]

# Layouts of scans, and layouts of cases with targets: the module of each, imported when it is asked for.
SCANS: Mapping[str, Callable[..., Any]] = {"folder": folder.studies}
CASES = {name: f"medley.data.layouts.{name}" for name in ("openkbp", "ham10000", "stoic", "dicom_rt")}
LAYOUTS = (*SCANS, *CASES)


def prepare(
    layout: str,
    source: str | Path,
    store: str | Path,
    *,
    table: str | Path | None = None,
    exclude: Sequence[str] = (),
    degradations: Mapping[str, Mapping[str, Any]] | None = None,
    size: int | None = None,
    seed: int = 0,
    progress: Progress = lambda done, total, name: None,
) -> Store:
    """Make (or go on making) a store from a data set.

    Parameters
    ----------
    layout: how the data set lies on disk, one of `LAYOUTS`.
    source: the data set. store: folder to make.
    table: CSV beside the data, where the layout takes one (of "folder": file, subject, split and modality).
    exclude: patterns (as in a shell) of source paths to leave out.
    degradations: of scans: {task: parameters} that replace the task's defaults, e.g. {"ct-denoise": {"dose": 0.1}};
        ranges and lists of names, such as {"dose": [0.05, 1.0]}, are drawn from for every scan.
    size: of cases: pixels or voxels along each axis; None takes the layout's own.
    seed: with a scan's name it decides all that is drawn for it, in whatever order the scans come.
    progress: called with (scans done, scans in all, name of the one at hand).

    Files that do not say their unit (NIfTI) are taken to be in that of the task: HU, SUV, or the scanner's for MR.

    Raises
    ------
    MedleyError: unknown layout, or an argument that it has no use for; an invalid degradation; nothing to prepare; a
        person in two splits; a scan that cannot be read, that has no task, or that a previous run with other settings
        made; a case without any target.
    """
    if layout not in LAYOUTS:
        known = f"{', '.join(LAYOUTS)}{did_you_mean(layout, LAYOUTS)}"
        raise MedleyError(f"there is no layout {layout!r}; the layouts are {known}")
    source, table = Path(source), Path(table) if table else None
    if layout in CASES:
        if degradations:
            raise MedleyError(f"the layout {layout} holds cases with targets, which are not degraded; leave that out")
        return _prepare_cases(layout, source, store, table, exclude, size, progress)
    if size is not None:
        raise MedleyError(f"the layout {layout} keeps scans in their own size; leave the size out")
    found = SCANS[layout](source, table=table)
    studies = _not_excluded(found, exclude)
    if not studies:
        raise MedleyError(f"{source} holds no scan to prepare; expected DICOM series or NIfTI files below it")
    _check_splits(studies)
    named = _with_ids(studies)
    specs = {name: {**task.degradation, **(degradations or {}).get(name, {})} for name, task in TASKS.items()}
    for spec in specs.values():
        create_degradation(**spec)  # raises before anything is written
    settings = {"layout": layout, "exclude": sorted(exclude), "degradations": specs, "seed": seed}
    with locked(Path(store), "preparing"):
        writer = StoreWriter(store, settings)
        for k, (identifier, study) in enumerate(named.items()):
            progress(k, len(named), study.source)
            if identifier not in writer:
                _add(writer, identifier, study, specs, seed)
    progress(len(named), len(named), "")
    return Store(store)


def _prepare_cases(
    layout: str,
    source: Path,
    store: str | Path,
    table: Path | None,
    exclude: Sequence[str],
    size: int | None,
    progress: Progress,
) -> Store:
    problem, found = import_module(CASES[layout]).cases(source, table=table, size=size)
    files = _not_excluded(found, exclude)
    if not files:
        raise MedleyError(f"{source} holds no case to prepare but those that were left out")
    _check_splits(files)
    _check_ids(files)
    with locked(Path(store), "preparing"):
        writer = StoreWriter(store, {"layout": layout, "exclude": sorted(exclude), "size": size}, problem)
        for k, one in enumerate(files):
            progress(k, len(files), one.source)
            if one.id not in writer:
                _add_case(writer, problem, one)
    progress(len(files), len(files), "")
    return Store(store)


def _add_case(writer: StoreWriter, problem: Problem, files: CaseFiles) -> None:
    data = files.read()
    drawn = {name: names for name, names in data.drawn.items() if names}
    maps = tuple(target.name for target in problem.targets if target.kind == "map" and target.name in data.arrays)
    if not (drawn or maps or data.labels):
        raise MedleyError(
            f"{files.source}: case {files.id} has no target at all, expected some of "
            f"{', '.join(target.name for target in problem.targets)}; leave it out with --exclude"
        )
    case = Case(
        id=files.id,
        subject=files.subject,
        split=files.split,
        shape=data.arrays["image"].shape[1:],
        spacing=data.spacing,
        drawn=drawn,
        labels=dict(data.labels),
        maps=maps,
        source=files.source,
    )
    without = {target.name for target in problem.targets if target.kind == "structures"} - drawn.keys()
    writer.add_case(case, {name: array for name, array in data.arrays.items() if name not in without})


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


def _not_excluded(found: Iterable[Found], patterns: Sequence[str]) -> list[Found]:
    return [one for one in found if not any(fnmatch(one.source, pattern) for pattern in patterns)]


def _check_splits(studies: Sequence[Study] | Sequence[CaseFiles]) -> None:
    split: dict[str, str] = {}
    for study in studies:
        if split.setdefault(study.subject, study.split) != study.split:
            raise MedleyError(
                f"{study.source}: subject {study.subject} is in {split[study.subject]!r} and in {study.split!r}; "
                f"a person belongs to one split only"
            )


def _check_ids(files: Sequence[CaseFiles]) -> None:
    named: dict[str, CaseFiles] = {}
    for one in files:
        if (other := named.setdefault(one.id, one)) is not one:
            raise MedleyError(f"{one.source} and {other.source} would both be stored as {one.id}; rename one")


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
