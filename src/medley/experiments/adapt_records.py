"""The records to which a network is adapted: scans or plans of a department, with some subjects held back."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from medley.data.layouts import folder
from medley.data.layouts.layout import LAYOUTS
from medley.data.layouts.study import RecordSource, Study
from medley.data.prepare import simulated, write_records
from medley.data.scan_noise import ScanNoise, ct_simulation, measure
from medley.data.simulation import read_study
from medley.data.store import Store
from medley.errors import MedleyError, MedleyNotice
from medley.inference.loading import Loaded
from medley.models.weights import Description
from medley.runtime.atomic import replacing
from medley.tasks import TASKS, Task

REPEATS, SLICES = 4, 24  # records of each good scan, and slices of a record at most

Found = TypeVar("Found", Study, RecordSource)
Progress = Callable[[int, int, str], None]
People = Mapping[str, Mapping[str, str]]  # {task: {subject: split}}


@dataclass(frozen=True)
class Source:
    """Where the scans or plans of a department are.

    Attributes
    ----------
    path: for a restorer a folder of good scans, as for the layout "folder"; for a predictor a folder of records with
        its targets; for both also a store.
    layout: of the records of a predictor; None is the name of its task. table, exclude: as in `medley.data.prepare`.
    """

    path: Path
    layout: str | None = None
    table: Path | None = None
    exclude: Sequence[str] = ()

    def keeps(self, one: Study | RecordSource) -> bool:
        """Whether a scan is used: it is not excluded, nor in the split "test"."""
        return one.split != "test" and not any(fnmatch(one.source, pattern) for pattern in self.exclude)


class Plan(BaseModel):
    """What the records are made of.

    Attributes
    ----------
    model: SHA-256 of the weights to start from. seed: random seed.
    scans: a line for every scan or plan that was found: source, name, subject and stated split.
    splits: {subject: "train" or "valid"}. tasks: those with enough subjects.
    noise: {line of a scan: its noise}. degradations: {task: parameters of the simulation}. Both for restorers only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    seed: int
    scans: tuple[str, ...]
    splits: dict[str, str]
    tasks: tuple[str, ...]
    noise: dict[str, ScanNoise] = {}
    degradations: dict[str, dict[str, Any]] = {}


def make_records(
    source: Source, work: Path, old: Loaded, *, seed: int = 0, progress: Progress = lambda done, total, name: None
) -> tuple[Plan | None, Store]:
    """Make WORK/store, and WORK/plan.json, which is used again when the work is continued.

    Parameters
    ----------
    work: a folder. old: the network to adapt. seed: random seed of the simulation.
    progress: called with (steps done, number of steps, the current one).

    Returns
    -------
    The plan, and the store; no plan if the source is a store.

    Raises
    ------
    MedleyError: too few subjects; scans that cannot be read; records that do not fit the network; a work folder of
        another adaptation.

    Warns
    -----
    MedleyNotice: scans or tasks that are left out.
    """
    description = old.description
    if (source.path / "manifest.json").exists():
        store = Store(source.path)
        if description.task:
            fitted(store.prediction_task(), description, source.path)
        return None, store
    if description.task:
        return _predictions(source, work, old, seed, progress)
    if source.layout not in (None, "folder"):
        raise MedleyError(
            f"the layout {source.layout} is not for adapting restorers; make a store with medley prepare "
            f"{source.layout}, and give that"
        )
    return _scans(source, work, old, seed, progress)


def _scans(source: Source, work: Path, old: Loaded, seed: int, progress: Progress) -> tuple[Plan, Store]:
    """Good scans with degraded versions of them."""
    studies = folder.studies(source.path, source.table, valid_fraction=0)
    found = {_line(one, one.scan.series_uid or ""): one for one in studies if source.keeps(one)}
    plan = _known_plan(work, old, seed, found)
    if plan is None:
        noise: dict[str, ScanNoise] = {}
        for k, (line, study) in enumerate(found.items()):
            progress(k, len(found), f"measuring the noise of {study.source}")
            noise[line] = measure(*read_study(study))
        plan = _scan_plan(source, found, noise, old, seed)
        _write_plan(work, plan)
    used = [study for line, study in found.items() if plan.noise[line].task in plan.tasks]
    # The held-back scans are all degraded: the scores of undegraded ones would outweigh the others.
    clean = {task: {**spec, "clean": 0.0} for task, spec in plan.degradations.items()}
    records = [
        record
        for split, specs in (("train", plan.degradations), ("valid", clean))
        for record in simulated(_of_split(used, plan, split), specs, seed, repeats=REPEATS, slices=SLICES)
    ]
    settings = {"layout": "folder", "degradations": plan.degradations, "seed": seed}
    settings |= {"repeats": REPEATS, "slices": SLICES}
    return plan, write_records(work / "store", settings, TASKS, records, progress=progress)


def _scan_plan(
    source: Source, found: Mapping[str, Study], noise: Mapping[str, ScanNoise], old: Loaded, seed: int
) -> Plan:
    people: dict[str, dict[str, str]] = {}
    for line, study in found.items():
        people.setdefault(noise[line].task, {})[study.subject] = study.split
    name, tasks = old.description.name, old.description.tasks
    if unknown := ", ".join(sorted(people.keys() - set(tasks))):
        warnings.warn(MedleyNotice(f"{name} has no task {unknown}; these scans are left out"), stacklevel=2)
    splits = splits_of({task: people[task] for task in tasks if task in people})
    usable = enough({task: people[task] for task in tasks if task in people}, splits, source.path)
    stated = old.description.training.get("store", {}).get("degradations", {})
    degradations = {task: dict(stated.get(task, TASKS[task].degradation)) for task in usable}
    matched = ct_simulation([one for one in noise.values() if one.task == "ct-denoise"])
    if matched and degradations.get("ct-denoise", {}).get("name") == "ct-low-dose":
        degradations["ct-denoise"] |= {"photons": None, **matched}
    return Plan(
        model=old.sha256,
        seed=seed,
        scans=tuple(sorted(found)),
        splits=splits,
        tasks=usable,
        noise=dict(noise),
        degradations=degradations,
    )


def _predictions(source: Source, work: Path, old: Loaded, seed: int, progress: Progress) -> tuple[Plan, Store]:
    """Records with the targets of a predictor, on its grid, so that both weights are scored as they are used."""
    of_network = Task.model_validate(dict(old.description.task))
    layout = source.layout or of_network.name
    kinds = [name for name, one in LAYOUTS.items() if one.kind == "targets"]
    if layout not in kinds:
        raise MedleyError(f"{source.path}: say with --layout how its records are organised: {', '.join(kinds)}")
    grid: dict[str, Any] = {"size": of_network.grid[0]}
    if layout == "dicom_rt":
        grid["spacing"] = of_network.spacing
    task, listed = LAYOUTS[layout](source.path, table=source.table, **grid)
    task = fitted(task, old.description, source.path)
    found = {_line(one, one.id): one for one in listed if source.keeps(one)}
    plan = _known_plan(work, old, seed, found)
    if plan is None:
        people = {task.name: {one.subject: one.split for one in found.values()}}
        splits = splits_of(people)
        usable = enough(people, splits, source.path)
        plan = Plan(model=old.sha256, seed=seed, scans=tuple(sorted(found)), splits=splits, tasks=usable)
        _write_plan(work, plan)
    records = [one for split in ("train", "valid") for one in _of_split(list(found.values()), plan, split)]
    settings = {"layout": layout, "size": grid["size"]}
    return plan, write_records(work / "store", settings, {task.name: task}, records, progress=progress)


def fitted(task: Task, description: Description, where: Path) -> Task:
    """The task of records with the ranges of values of a predictor.

    Parameters
    ----------
    description: of the predictor. where: begins the message.

    Raises
    ------
    MedleyError: the records have another grid, other inputs, or other targets than the network.
    """
    of_network = Task.model_validate(dict(description.task))

    def parts(one: Task) -> dict[str, Any]:
        targets = [one.target(name) for name in description.tasks]
        return {
            "grid": one.grid,
            "inputs": one.input_channels(description.inputs or ("image",)),
            "targets": [(target.name, target.kind, target.names, target.unit) for target in targets],
        }

    found, expected = parts(task), parts(of_network)
    for what in expected:
        if found[what] != expected[what]:
            raise MedleyError(
                f"{where}: the {what} of the records are {found[what]}, but those of {description.name} are "
                f"{expected[what]}; prepare records with the same grid and the same names of structures in that order"
            )
    scales = {target.name: target.scale for target in of_network.targets}
    targets = tuple(one.model_copy(update={"scale": scales.get(one.name, one.scale)}) for one in task.targets)
    return task.model_copy(update={"range": of_network.range, "targets": targets})


def splits_of(people: People) -> dict[str, str]:
    """{subject: "train" or "valid"}: as stated if any subject is stated as "valid", else by `held_back`."""
    splits = {subject: split for stated in people.values() for subject, split in stated.items()}
    if "valid" in splits.values():
        return splits
    held = held_back({task: set(stated) for task, stated in people.items()})
    return {subject: "valid" if subject in held else "train" for subject in splits}


def held_back(tasks: Mapping[str, set[str]]) -> set[str]:
    """Subjects to hold back: of every task a fifth, or up to 6 if these are not more than a third; at least one.

    The choice depends only on the names of the subjects. One subject of each task at least is left for training.

    Parameters
    ----------
    tasks: {task: its subjects}. A subject can have scans of several tasks.
    """
    held: set[str] = set()
    for people in tasks.values():
        wanted = max(len(people) // 5, min(6, len(people) // 3), 1)
        for one in sorted(people, key=lambda name: (zlib.crc32(name.encode()), name)):
            if len(held & people) < wanted and all(others - held - {one} for others in tasks.values() if one in others):
                held.add(one)
    return held


def enough(people: People, splits: Mapping[str, str], where: Path) -> tuple[str, ...]:
    """The tasks with training and held-back subjects.

    Parameters
    ----------
    splits: {subject: its split}. where: begins the messages.

    Raises
    ------
    MedleyError: there is none.

    Warns
    -----
    MedleyNotice: the tasks that have too few subjects.
    """
    of_task = {task: [splits[subject] for subject in stated] for task, stated in people.items()}
    usable = tuple(task for task, found in of_task.items() if {"train", "valid"} <= set(found))
    counts = ", ".join(
        f"{task} has {found.count('train')} to train on and {found.count('valid')} held back"
        for task, found in of_task.items()
        if task not in usable
    )
    needed = (
        "a task needs at least 2 subjects, one to train on and one held back to check the result; a DICOM series "
        "belongs to the subject in its PatientID, another scan is a subject of its own, and a table (--table) can "
        "state both otherwise"
    )
    if not usable:
        raise MedleyError(f"{where}: too few subjects: {counts or 'the network has no task for any scan'}; {needed}")
    if counts:
        warnings.warn(MedleyNotice(f"{where}: not adapted for lack of subjects: {counts}; {needed}"), stacklevel=2)
    return usable


def _of_split(found: Sequence[Found], plan: Plan, split: str) -> list[Found]:
    return [replace(one, split=split) for one in found if plan.splits[one.subject] == split]


def _known_plan(work: Path, old: Loaded, seed: int, found: Mapping[str, object]) -> Plan | None:
    """The plan in the work folder; None if there is none.

    Raises
    ------
    MedleyError: it is damaged, or of other scans, another model or another seed.
    """
    path = work / "plan.json"
    if not path.exists():
        return None
    try:
        plan = Plan.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise MedleyError(f"{path}: is damaged; remove {work} to begin again") from error
    now = {"the model": old.sha256, "the seed": seed, "the scans": tuple(sorted(found))}
    before = {"the model": plan.model, "the seed": plan.seed, "the scans": plan.scans}
    if changed := [what for what in now if now[what] != before[what]]:
        raise MedleyError(
            f"{work}: belongs to another adaptation ({', '.join(changed)} differ); remove it to begin again, or choose "
            "another work folder"
        )
    return plan


def _write_plan(work: Path, plan: Plan) -> None:
    with replacing(work / "plan.json", overwrite=True) as temporary:
        temporary.write_text(plan.model_dump_json(indent=1))


def _line(one: Study | RecordSource, name: str) -> str:
    return " | ".join((one.source, name, one.subject, one.split))
