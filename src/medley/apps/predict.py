"""`medley predict`: scans in; doses, structures and diagnoses out, with a record of what was done to each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import medley
from medley.apps import predict_report
from medley.apps.outputs import check_outputs, write_json, write_text
from medley.apps.predict_files import PHOTOGRAPHS, read_photograph, write_answers
from medley.apps.predict_numbers import answers, of_structures
from medley.apps.terminal import complain, counted, say
from medley.errors import MedleyError
from medley.inference.predictor import Prediction, Predictor, load, matched
from medley.io.dicom.structures import read_structures
from medley.io.files import Scan, find_scans, open_scan
from medley.runtime.atomic import replacing
from medley.volume import Volume

RECORD = "prediction.json"


@dataclass(frozen=True)
class Job:
    """One scan, the folder its answers go to, and the report; None for no report."""

    scan: Scan
    output: Path
    page: Path | None = None


@dataclass(frozen=True)
class Given:
    """Structures that came with a scan.

    Attributes
    ----------
    masks: those of the problem, by its names. names: what the file calls them. unmatched: the file's other names.
    """

    masks: Mapping[str, np.ndarray]
    names: Mapping[str, str]
    unmatched: tuple[str, ...]


def predict(
    source: Path,
    output: Path,
    *,
    model: str,
    structures: Path | None = None,
    device: str = "cpu",
    page: Path | None = None,
    record: Path | None = None,
    form: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Predict from every scan at `source`; a scan that fails is told and does not stop the others.

    Parameters
    ----------
    source: a file, a DICOM series, a zip, a photograph, or a folder of them.
    output: the folder for a single scan, or the one for the folders of several.
    structures: an RTSTRUCT drawn on the only scan: for networks that need structures, and to compare with.
    page: the HTML report of a single scan, or a folder for those of several. record: JSON file, or "-" for stdout.
    form: "nifti" or "dicom" alone; None for NIfTI, and DICOM too where the scan is DICOM.

    Returns
    -------
    The exit code: 0 all done, 1 none, 3 some.

    Raises
    ------
    MedleyError: before any work: nothing to predict from, results that could not be written, no such model.
    """
    predictor = load(model, device=device)
    jobs = plan_jobs(find_photographs(source) if photographs(predictor) else find_scans(source), output, page)
    if structures is not None and len(jobs) > 1:
        raise MedleyError(f"there are {len(jobs)} scans, but {structures} was drawn on one; give that one alone")
    results = [path for job in jobs for path in (job.output, job.page) if path is not None]
    records = [record] if record is not None and str(record) != "-" else []
    check_outputs(source, [*results, *records], overwrite=overwrite)
    for job in jobs:
        _check_replaceable(job.output)
    done = []
    for job in jobs:
        try:
            done.append(predict_one(predictor, job, structures, form=form, overwrite=overwrite))
            for note in done[-1]["notes"]:
                say(f"{job.scan.name}: {note}", quiet=quiet)
            say(_summary(done[-1]), quiet=quiet)
        except MedleyError as error:
            named = any(str(path) in str(error) for path in (job.scan.path, structures) if path)
            text = str(error) if named else f"{job.scan.path}: {error}"
            complain(text)
            done.append({"name": job.scan.name, "input": str(job.scan.path), "error": text})
    if record is not None:
        write_json(record, {"medley": medley.__version__, "scans": done}, overwrite=overwrite)
    failed = sum("error" in one for one in done)
    if not failed:
        return 0
    return 1 if failed == len(done) else 3


def photographs(predictor: Predictor) -> bool:
    """Whether it is for photographs, and not for scans."""
    return not predictor.problem.modality


def find_photographs(source: Path) -> list[Scan]:
    """All photographs at a path, sorted by name, hidden files left out.

    Raises
    ------
    MedleyError: nothing is there, or no photograph.
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


def plan_jobs(scans: list[Scan], output: Path, page: Path | None = None) -> list[Job]:
    """The places for the results of each scan.

    Raises
    ------
    MedleyError: `output` is called like a file, one report for several scans, or two scans of one name.
    """
    if output.suffix.lower() in (".gz", ".nii", ".dcm", ".json", ".mha", ".nrrd", ".png", ".html"):
        raise MedleyError(f"{output}: is the name of a file, but the answers are several files; give a folder")
    if len(scans) == 1:
        return [Job(scans[0], output, page)]
    if page is not None and page.suffix:
        raise MedleyError(f"there are {len(scans)} scans, but the report {page} is one file; give a folder")
    if doubled := sorted({one.name for one in scans if [other.name for other in scans].count(one.name) > 1}):
        raise MedleyError(f"two scans would both be written to {output / doubled[0]}; predict from one at a time")
    return [Job(one, output / one.name, page / f"{one.name}.html" if page else None) for one in scans]


def predict_one(
    predictor: Predictor,
    job: Job,
    structures: Path | None = None,
    *,
    form: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Predict from one scan, write its folder and its report, and give its record (plain JSON values).

    Raises
    ------
    MedleyError: the scan cannot be read, is not the network's, or its answers cannot be written; nothing is left.
    """
    begun = time.perf_counter()
    scan = read_photograph(job.scan.path) if photographs(predictor) else open_scan(job.scan).load()
    given = _given(predictor, scan, structures)
    prediction = predictor.predict(scan, given.masks)
    masks = {name: mask for one in prediction.masks.values() for name, mask in one.items()}
    name = predictor.description.name
    record: dict[str, Any] = {
        "name": job.scan.name,
        "input": str(job.scan.path),
        "output": str(job.output),
        "problem": predictor.problem.name,
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
            "structures": of_structures(prediction, given.masks, masks),
        },
        "notes": _notes(prediction, given),
    }
    with replacing(job.output, folder=True, overwrite=overwrite) as folder:
        folder.mkdir()
        try:
            written, missed = write_answers(prediction, folder, f"medley {medley.__version__} {name}", form)
        except MedleyError as error:
            raise MedleyError(str(error).replace(str(folder), str(job.output))) from error
        record["notes"] += missed
        record |= {"files": written, "seconds": round(time.perf_counter() - begun, 3)}
        write_json(folder / RECORD, record)
    if job.page is not None:
        try:
            page = predict_report.page(record, prediction, given.masks, predictor)
            write_text(job.page, page, overwrite=overwrite)
        except MedleyError as error:
            raise MedleyError(f"{error}; the prediction itself is finished: {job.output}") from error
    return record


def _given(predictor: Predictor, scan: Volume | np.ndarray, path: Path | None) -> Given:
    """The structures of an RTSTRUCT that the problem knows.

    Raises
    ------
    MedleyError: it is none, belongs to another scan, or the problem has no structures.
    """
    if path is None:
        return Given({}, {}, ())
    known = [name for target in predictor.problem.targets if target.kind == "structures" for name in target.names]
    if not known or not isinstance(scan, Volume):
        raise MedleyError(f"{path}: {predictor.description.name} has no use for the structures of an RTSTRUCT")
    structures = read_structures(path, scan)
    names = matched(structures, known)
    unmatched = tuple(name for name in structures if name not in names.values())
    if not names:
        raise MedleyError(
            f"{path}: has none of the structures that {predictor.description.name} knows ({', '.join(known)}); those "
            f"drawn are {', '.join(structures) or 'none'}: rename them"
        )
    return Given({name: structures[said] for name, said in names.items()}, names, unmatched)


def _notes(prediction: Prediction, given: Given) -> list[str]:
    """What a user should know of it, a sentence each."""
    notes = []
    if prediction.outside > 0 and prediction.slices and isinstance(prediction.scan, Volume):
        first, last = prediction.slices
        notes.append(
            f"the network's grid covers slices {first + 1} to {last + 1} of {prediction.scan.shape[0]}; "
            f"{100 * prediction.outside:.1f} % of the body lies outside of it and has no answer"
        )
    if given.unmatched:
        notes.append(f"structures left aside, their names are not the model's: {', '.join(given.unmatched)}")
    return notes


def _check_replaceable(folder: Path) -> None:
    """Only a folder of answers may be overwritten."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).is_file():
        raise MedleyError(f"{folder}: holds files that medley predict did not write; choose another folder")


def _summary(record: Mapping[str, Any]) -> str:
    said = []
    for target, answer in record["answers"].items():
        if "maximum" in answer:
            said.append(f"{target} up to {answer['maximum']:.1f} {answer['unit']}")
        elif "probabilities" in answer:
            said.append(f"{target} {answer['answer']} ({100 * answer['probabilities'][answer['answer']]:.0f} %)")
        else:
            said.append(f"{target}: {counted(sum(any(one.values()) for one in answer.values()), 'structure')}")
    return f"{record['name']}: {', '.join(said)} in {record['seconds']:.1f} s -> {record['output']}"
