"""Data sets to stores: good scans, each with a degraded version of it; pairs; records with other targets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from medley.data.layouts.layout import LAYOUTS
from medley.data.layouts.study import RecordData, RecordSource, Study
from medley.data.pseudonyms import pseudonym, read_secret
from medley.data.record import INPUT, Record
from medley.data.simulation import simulate
from medley.data.store import Store, StoreWriter
from medley.errors import MedleyError
from medley.physics import create_degradation
from medley.runtime.locks import locked
from medley.tasks import TASKS, VOLUME_TASKS, Task

Found = TypeVar("Found", Study, RecordSource)
Progress = Callable[[int, int, str], None]


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
    pseudonyms: str | Path | None = None,
    repeats: int = 1,
    progress: Progress = lambda done, total, name: None,
) -> Store:
    """Make a store from a data set, or continue one.

    Parameters
    ----------
    layout: how the data set is organised on disk, one of `medley.data.layouts.layout.LAYOUTS`.
    source: the data set. store: folder to create.
    table: CSV beside the data, if the layout uses one (of "folder" and "images": file, subject, split and modality).
    exclude: patterns (as in a shell) of source paths to leave out.
    degradations: of good scans: {task: parameters} that replace the defaults, e.g. {"ct-denoise": {"dose": 0.1}};
        from ranges and lists of names, such as {"dose": [0.05, 1.0]}, a value is drawn for every scan.
    size: of records with targets: pixels or voxels along each axis; None uses the default of the layout.
    seed: random seed; it and the id of a record determine its degradation, independent of the order.
    pseudonyms: file with a secret, created if it does not exist: the store contains pseudonyms instead of the names of
        subjects and records, and no source paths. The same secret gives the same pseudonyms in all stores.
    repeats: number of records of each good scan, with degradations that are drawn independently.
    progress: callback with (records done, number of records, the current one).

    Raises
    ------
    MedleyError: unknown layout, or an argument that it does not use; an invalid degradation; nothing to prepare; a
        person in two splits; a scan that cannot be read, that has no task, or that an earlier run with other settings
        made; a record without any target.
    """
    chosen = LAYOUTS.named(layout)
    source, table = Path(source), Path(table) if table else None
    settings: dict[str, Any] = {"layout": layout, "exclude": sorted(exclude)}
    if size is not None and chosen.kind != "targets":
        raise MedleyError(f"the layout {layout} keeps the size of scans; remove the size")
    if chosen.kind != "scans" and (degradations or repeats != 1):
        raise MedleyError(f"the records of the layout {layout} have targets and are not degraded; remove that")
    if chosen.kind == "scans":
        defaults = {name: task.degradation for name, task in TASKS.items()}
        specs = {name: {**spec, **(degradations or {}).get(name, {})} for name, spec in defaults.items()}
        for spec in specs.values():
            create_degradation(**spec)  # raises before anything is written
        # Stores that were begun before the other tasks existed can be continued.
        recorded = {name: spec for name, spec in specs.items() if name in VOLUME_TASKS or spec != defaults[name]}
        settings |= {"degradations": recorded, "seed": seed, "repeats": repeats}
        studies = _kept(chosen(source, table=table), exclude)
        tasks, found = dict(TASKS), simulated(studies, specs, seed, repeats=repeats)
    elif chosen.kind == "pairs":
        tasks, found = dict(TASKS), _kept(chosen(source, table=table), exclude)
    else:
        settings |= {"size": size}
        task, listed = chosen(source, table=table, size=size)
        tasks, found = {task.name: task}, _kept(listed, exclude)
    if not found:
        raise MedleyError(f"{source} contains nothing to prepare that is not excluded; expected the layout {layout}")
    if secret := read_secret(Path(pseudonyms)) if pseudonyms else b"":
        found = [replace(one, id=pseudonym(one.id, secret), subject=pseudonym(one.subject, secret)) for one in found]
        settings |= {"exclude": [pseudonym(one, secret) for one in sorted(exclude)], "pseudonyms": True}
    return write_records(store, settings, tasks, found, with_source=not secret, progress=progress)


def write_records(
    store: str | Path,
    settings: Mapping[str, Any],
    tasks: Mapping[str, Task],
    found: Sequence[RecordSource],
    *,
    with_source: bool = True,
    progress: Progress = lambda done, total, name: None,
) -> Store:
    """Write the records that a store does not contain yet.

    Parameters
    ----------
    settings: what the store is made with. tasks: those of its records.
    with_source: whether the manifest states where each record comes from.

    Raises
    ------
    MedleyError: as `prepare`.
    """
    _check_splits(found)
    _check_ids(found)
    with locked(Path(store), "preparing"):
        writer = StoreWriter(store, settings, tasks)
        for k, one in enumerate(found):
            progress(k, len(found), one.source)
            if one.id not in writer:
                _add(writer, tasks, one, source=one.source if with_source else "")
        writer.finish()
    progress(len(found), len(found), "")
    return Store(store)


def _add(writer: StoreWriter, tasks: Mapping[str, Task], one: RecordSource, source: str) -> None:
    data = one.read()
    task = tasks[data.task] if data.task else next(iter(tasks.values()))
    record = Record(
        id=one.id,
        subject=one.subject,
        split=one.split,
        task=task.name,
        shape=data.arrays[INPUT].shape[1:],
        spacing=data.spacing,
        normalisation=data.normalisation or task.normalisation,
        degradation=dict(data.degradation),
        drawn={name: names for name, names in data.drawn.items() if names},
        labels=dict(data.labels),
        source=source,
    )
    arrays = _without_empty(task, record, data)
    if not (record.labels or any(target.name in arrays for target in task.targets)):
        raise MedleyError(
            f"{one.source}: {one.id} has no target, expected at least one of "
            f"{', '.join(target.name for target in task.targets)}; leave it out with --exclude"
        )
    writer.add(record, arrays)


def _without_empty(task: Task, record: Record, data: RecordData) -> dict[str, Any]:
    """The arrays without structures targets of which nothing was drawn."""
    empty = {target.name for target in task.targets if target.kind == "structures"} - record.drawn.keys()
    return {name: array for name, array in data.arrays.items() if name not in empty}


def simulated(
    studies: Sequence[Study],
    degradations: Mapping[str, Mapping[str, Any]],
    seed: int,
    *,
    repeats: int = 1,
    slices: int | None = None,
) -> list[RecordSource]:
    """Good scans as records, which are degraded when they are read; in the order of their sources.

    Parameters
    ----------
    degradations: {task: name and parameters}. repeats: number of records of each scan.
    slices: the most slices of a record; longer scans give a part, another one for each repeat. None: all.
    """
    return [
        RecordSource(
            id=identifier,
            source=study.source,
            subject=study.subject,
            split=study.split,
            read=partial(simulate, study, identifier, degradations, seed, slices),
        )
        for study in sorted(studies, key=lambda study: study.source)
        for identifier in (_identifier(study) + (f"-{k + 1}" if k else "") for k in range(repeats))
    ]


def _identifier(study: Study) -> str:
    """The path of a scan with only letters, digits, ".", "_" and "-"."""
    stem = re.sub(r"\.(nii|nii\.gz|mha|nrrd|zip|dcm)$", "", study.source)
    uid = f"-{study.scan.series_uid}" if study.scan.series_uid else ""
    return re.sub(r"[^\w.-]+", "-", stem + uid)


def _kept(found: Iterable[Found], exclude: Sequence[str]) -> list[Found]:
    return [one for one in found if not any(fnmatch(one.source, pattern) for pattern in exclude)]


def _check_splits(found: Sequence[RecordSource]) -> None:
    split: dict[str, str] = {}
    for one in found:
        if split.setdefault(one.subject, one.split) != one.split:
            raise MedleyError(
                f"{one.source}: subject {one.subject} is in {split[one.subject]!r} and in {one.split!r}; "
                f"a person belongs to one split only"
            )


def _check_ids(found: Sequence[RecordSource]) -> None:
    named: dict[str, RecordSource] = {}
    for one in found:
        if (other := named.setdefault(one.id, one)) is not one:
            raise MedleyError(f"{one.source} and {other.source} would both be stored as {one.id}; rename one")
