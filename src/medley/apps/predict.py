"""`medley predict`: predicts doses, structures and diagnoses from scans and records what was done with each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import medley
from medley.apps import _predict_report
from medley.apps._outputs import write_json
from medley.apps._predict_numbers import answers, of_structures
from medley.apps._terminal import Update, no_update
from medley.apps.jobs import Job, make_jobs, run_jobs, write_page
from medley.apps.predict_files import write_answers
from medley.data.layouts.structure_names import BODY, StructureNames, read_structure_names
from medley.errors import MedleyError
from medley.inference import loading
from medley.inference.predictor import Prediction, Predictor
from medley.io.dicom.provenance import Algorithm
from medley.io.dicom.structure_codes import TARGET, structure_codes
from medley.io.dicom.structures import Structures, read_structures
from medley.io.files import Scan, find_scans, open_scan
from medley.io.photographs import PHOTOGRAPHS, read_photograph
from medley.runtime.atomic import replacing
from medley.runtime.text import counted, plain_name
from medley.volume import Volume

RECORD = "prediction.json"


@dataclass(frozen=True)
class Given:
    """Structures of an RTSTRUCT that belongs to a scan.

    Attributes
    ----------
    masks: the structures that the network knows, by its names. names: their names in the file. unmatched: the other
        names in the file. targets: those of them that are radiotherapy targets by their name or type.
    """

    masks: Mapping[str, np.ndarray]
    names: Mapping[str, str]
    unmatched: tuple[str, ...]
    targets: tuple[str, ...] = ()


def predict(
    source: Path,
    output: Path,
    *,
    model: str,
    structures: Path | None = None,
    structure_names: Path | None = None,
    force: bool = False,
    device: str = "auto",
    page: Path | None = None,
    record: Path | None = None,
    form: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Predict from every scan at `source`. A scan that fails is reported, and the others are still done.

    Parameters
    ----------
    source: a file, a DICOM series, a zip, a photograph, or a folder of them.
    output: the folder for the results of a single scan, or for the folders of several.
    structures: an RTSTRUCT of the only scan: input of networks that need structures, and shown beside the predictions.
    structure_names: a table of what the names in it mean (`data.layouts.structure_names`); None for standard names.
    force: predict also from scans that are unlike the training scans of the network.
    page: the HTML report of a single scan, or a folder for those of several. record: JSON file, or "-" for stdout.
    form: "nifti" or "dicom" for one of them only; None for NIfTI, and also DICOM where the scan is DICOM.

    Returns
    -------
    The exit code: 0 all scans done, 1 none, 3 some.

    Raises
    ------
    MedleyError: before any work: there is no scan, no such model, or the results cannot be written.
    """
    predictor = loading.load_predictor(model, device=device)
    scans = find_photographs(source) if photographs(predictor) else find_scans(source)
    if structures is not None and len(scans) > 1:
        raise MedleyError(f"there are {len(scans)} scans, but {structures} belongs to one; give that scan alone")
    if structure_names is not None and structures is None:
        raise MedleyError(f"{structure_names}: names structures, but no structures are given; add --structures")
    names = read_structure_names(structure_names) if structure_names else None
    jobs = make_jobs(scans, folders_for(scans, output), page)
    for job in jobs:
        _check_replaceable(job.output)
    inputs = [source, loading.find(model), *(one for one in (structures, structure_names) if one)]

    def work(job: Job, update: Update) -> dict[str, Any]:
        return predict_one(predictor, job, structures, names, update, force=force, form=form, overwrite=overwrite)

    return run_jobs(jobs, work, _summary, inputs=inputs, record=record, overwrite=overwrite, quiet=quiet)


def photographs(predictor: Predictor) -> bool:
    """Whether the network is for photographs instead of scans."""
    return not predictor.task.modality


def find_photographs(source: Path) -> list[Scan]:
    """All photographs at a path, sorted by name, hidden files left out.

    Raises
    ------
    MedleyError: the path does not exist or holds no photograph.
    """
    if not source.exists():
        raise MedleyError(f"{source}: does not exist")
    if source.is_file():
        return [Scan(source, None, source.stem)]
    files = [
        file
        for file in sorted(source.rglob("*"))
        if file.suffix.lower() in PHOTOGRAPHS and not any(p.startswith(".") for p in file.relative_to(source).parts)
    ]
    if not files:
        raise MedleyError(f"{source}: holds no photograph; expected {', '.join(PHOTOGRAPHS)} files")
    return [Scan(file, None, file.relative_to(source).with_suffix("").as_posix()) for file in files]


def folders_for(scans: list[Scan], output: Path) -> list[Path]:
    """The folder for the results of each scan.

    Raises
    ------
    MedleyError: `output` has the name of a file, or two scans have the same name.
    """
    if output.suffix.lower() in (".gz", ".nii", ".dcm", ".json", ".mha", ".nrrd", ".png", ".html"):
        raise MedleyError(f"{output}: is the name of a file, but there are several files to write; give a folder")
    if len(scans) == 1:
        return [output]
    names = [one.name for one in scans]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise MedleyError(f"two scans would both be written to {output / doubled[0]}; process them one at a time")
    return [output / name for name in names]


def predict_one(
    predictor: Predictor,
    job: Job,
    structures: Path | None = None,
    names: StructureNames | None = None,
    update: Update = no_update,
    *,
    force: bool = False,
    form: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Predict from one scan, write its folder and its report, and return its record (plain JSON values).

    Raises
    ------
    MedleyError: the scan cannot be read, is not for this network, or is unlike its training scans; the results cannot
        be written; no part of them is left.
    """
    begun = time.perf_counter()
    update(0, 3, f"{job.scan.name}: reading")
    scan = read_photograph(job.scan.path) if photographs(predictor) else open_scan(job.scan).load()
    given = _given(predictor, scan, structures, names)
    update(1, 3, f"{job.scan.name}: predicting")
    prediction = predictor.predict(scan, given.masks, force=force)
    update(2, 3, f"{job.scan.name}: writing")
    masks = {name: mask for one in prediction.masks.values() for name, mask in one.items()}
    name = predictor.description.name
    record: dict[str, Any] = {
        "name": job.scan.name,
        "input": str(job.scan.path),
        "output": str(job.output),
        "task": predictor.task.name,
        "model": {"name": name, "sha256": predictor.sha256},
        "version": medley.__version__,
        "shape": list(scan.shape),
        "spacing": list(scan.spacing) if isinstance(scan, Volume) else [],
        "slices": list(prediction.slices or ()),
        "body_outside": round(prediction.outside, 4),
        "answers": answers(prediction, predictor.targets),
        "given": {
            "names": dict(given.names),
            "unmatched": list(given.unmatched),
            "unmatched_targets": list(given.targets),
            "structures": of_structures(prediction, given.masks, masks),
        },
        "likeness": prediction.likeness.record() if prediction.likeness else None,
        "notes": _notes(prediction, given, name),
    }
    with replacing(job.output, folder=True, overwrite=overwrite, mode=job.mode) as folder:
        folder.mkdir()
        try:
            written, missed = write_answers(prediction, folder, Algorithm(name, predictor.sha256), form, structures)
        except MedleyError as error:
            raise MedleyError(str(error).replace(str(folder), str(job.output))) from error
        record["notes"] += missed
        record |= {"files": written, "seconds": round(time.perf_counter() - begun, 3)}
        write_json(folder / RECORD, record)
    if job.page is not None:
        write_page(job, _predict_report.page(record, prediction, given.masks, predictor), overwrite=overwrite)
    return record


def _given(
    predictor: Predictor, scan: Volume | np.ndarray, path: Path | None, names: StructureNames | None = None
) -> Given:
    """The structures of an RTSTRUCT that the network knows, by the table of names or by their standard names.

    Raises
    ------
    MedleyError: the file is not an RTSTRUCT or belongs to another scan, two of its names mean the same structure, or
        the network has no structures.
    """
    if path is None:
        return Given({}, {}, ())
    known = [name for target in predictor.task.targets if target.kind == "structures" for name in target.names]
    if not known or not isinstance(scan, Volume):
        raise MedleyError(f"{path}: {predictor.description.name} does not use structures; omit --structures")
    structures = read_structures(path, scan)
    found = (names or StructureNames(standard=tuple(known))).named(structures)
    by_name = {plain_name(structure): theirs for structure, theirs in found.items() if structure != BODY}
    matched = {name: by_name[plain_name(name)] for name in known if plain_name(name) in by_name}
    unmatched = tuple(name for name in structures if name not in matched.values())
    if not matched:
        raise MedleyError(
            f"{path}: has none of the structures that {predictor.description.name} knows ({', '.join(known)}); it has "
            f"{', '.join(structures) or 'none'}; give a table of their names with --structure-names"
        )
    targets = tuple(name for name in unmatched if _is_target(name, structures))
    return Given({name: structures[theirs] for name, theirs in matched.items()}, matched, unmatched, targets)


def _is_target(name: str, structures: Structures) -> bool:
    return structures.interpreted[name] in ("PTV", "CTV", "GTV") or structure_codes(name)[0] == TARGET


def _notes(prediction: Prediction, given: Given, name: str) -> list[str]:
    """What a user should know about the prediction, one sentence each."""
    notes = []
    if prediction.likeness is not None and not prediction.likeness.alike:
        notes.append(prediction.likeness.sentence(name))
    if prediction.outside > 0 and prediction.slices and isinstance(prediction.scan, Volume):
        first, last = prediction.slices
        notes.append(
            f"the network's grid covers slices {first + 1} to {last + 1} of {prediction.scan.shape[0]}; "
            f"{100 * prediction.outside:.1f} % of the body lies outside of it and has no prediction"
        )
    if given.targets:
        notes.append(
            f"targets with names that the network does not know, so it was not given them: {', '.join(given.targets)}; "
            "if a dose is predicted, it ignores them; a table of names (--structure-names) can assign them"
        )
    if given.unmatched:
        notes.append(f"structures that the network does not know are ignored: {', '.join(given.unmatched)}")
    return notes


def _check_replaceable(folder: Path) -> None:
    """Only a folder that this command wrote may be overwritten."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).is_file():
        raise MedleyError(f"{folder}: holds files that medley predict did not write; choose another folder")


def _summary(record: Mapping[str, Any]) -> str:
    parts = []
    for target, answer in record["answers"].items():
        if "maximum" in answer:
            parts.append(f"{target}: maximum {answer['maximum']:.1f} {answer['unit']}")
        elif "probabilities" in answer:
            parts.append(f"{target}: {answer['answer']} ({100 * answer['probabilities'][answer['answer']]:.0f} %)")
        else:
            parts.append(f"{target}: {counted(sum(any(one.values()) for one in answer.values()), 'structure')}")
    return f"{record['name']}: {', '.join(parts)} in {record['seconds']:.1f} s -> {record['output']}"
