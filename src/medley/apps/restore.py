"""`medley restore`: scans in, better scans out, and a record of what was done to each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import medley
from medley.apps import report
from medley.apps.outputs import check_outputs, output_paths, write_json, write_text
from medley.apps.survey import Survey
from medley.apps.terminal import complain, counted, progress, say, watched
from medley.errors import MedleyError
from medley.inference.restorer import Restorer, load
from medley.io.files import Scan, find_scans, open_scan, write
from medley.models import loading


@dataclass(frozen=True)
class Job:
    """One scan and where its results go; `page` is the report, None for no report."""

    scan: Scan
    output: Path
    page: Path | None = None


def restore(
    source: Path,
    output: Path,
    *,
    model: str = "tat-tiny",
    device: str = "cpu",
    precision: str = "float32",
    backend: str | None = None,
    wishes: Mapping[str, Any],
    page: Path | None = None,
    record: Path | None = None,
    form: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Restore every scan at `source`; a scan that fails is told and does not stop the others.

    Parameters
    ----------
    source: a file, a DICOM series, a zip, or a folder of them.
    output: the file or DICOM folder of a single scan, or the folder for several.
    precision: of the network's products, "float32" or "bfloat16".
    backend: "torch" or "onnx"; None as the model's file is, see `medley.models.loading.load`.
    wishes: task, strength, scale, keep_measured, as `Restorer.restore` takes them.
    page: the HTML report of a single scan, or a folder for those of several. record: JSON file, or "-" for stdout.
    form: "dicom", "nifti", "mha", "nrrd"; None keeps that of the input.

    Returns
    -------
    The exit code: 0 all done, 1 none, 3 some.

    Raises
    ------
    MedleyError: before any work: nothing to restore, results that could not be written, no such model.
    """
    jobs = plan_jobs(source, output, page, form)
    results = [path for job in jobs for path in (job.output, job.page) if path is not None]
    records = [record] if record is not None and str(record) != "-" else []
    check_outputs(source, [*results, *records], overwrite=overwrite)
    backend = loading.backend_for(model, backend)
    restorer = load(model, device=device, precision=precision, backend=backend)
    done = []
    for job in jobs:
        try:
            one = restore_one(restorer, job, wishes, overwrite=overwrite, quiet=quiet)
            done.append(one | {"backend": backend})
            say(_summary(done[-1]), quiet=quiet)
        except MedleyError as error:
            text = str(error) if str(job.scan.path) in str(error) else f"{job.scan.path}: {error}"
            complain(text)
            done.append({"name": job.scan.name, "input": str(job.scan.path), "error": text})
    if record is not None:
        write_json(record, {"medley": medley.__version__, "scans": done}, overwrite=overwrite)
    failed = sum("error" in one for one in done)
    if not failed:
        return 0
    return 1 if failed == len(done) else 3


def plan_jobs(source: Path, output: Path, page: Path | None = None, form: str | None = None) -> list[Job]:
    """The scans at `source`, each with the places of its results."""
    scans = find_scans(source)
    outputs = output_paths(scans, output, form)
    if page is None:
        return [Job(scan, path) for scan, path in zip(scans, outputs, strict=True)]
    if len(scans) > 1 and page.suffix:
        raise MedleyError(f"there are {len(scans)} scans, but the report {page} is one file; give a folder")
    pages = [page] if len(scans) == 1 else [page / f"{scan.name}.html" for scan in scans]
    return [Job(*one) for one in zip(scans, outputs, pages, strict=True)]


def restore_one(
    restorer: Restorer, job: Job, wishes: Mapping[str, Any], *, overwrite: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Restore one scan, write it and its report, and give its record (plain JSON values).

    Raises
    ------
    MedleyError: the scan cannot be read, restored or written; nothing is left behind.
    """
    begun = time.perf_counter()
    plan = restorer.plan(open_scan(job.scan), **wishes)
    survey = Survey(plan)
    name = restorer.description.name
    derivation = f"medley {medley.__version__} {name} {plan.task.name}"  # short: NIfTI has room for 79 letters
    if plan.strength < 1:
        derivation += f" strength {plan.strength:g}"
    if plan.scale > 1:
        derivation += f" scale {plan.scale}"
    if plan.keep is not None:
        derivation += f" kept {plan.keep:g}"
    if restorer.precision != "float32":
        derivation += f" {restorer.precision}"
    with progress(job.scan.name, quiet=quiet) as update:
        better = watched(restorer.carry_out(plan, survey), update)
        write(better, job.output, derivation=derivation, overwrite=overwrite)
    noise = survey.noise
    record = {
        "name": job.scan.name,
        "input": str(job.scan.path),
        "output": str(job.output),
        "task": plan.task.name,
        "model": {"name": name, "sha256": restorer.sha256},
        "precision": restorer.precision,
        "version": medley.__version__,
        "parameters": {"strength": plan.strength, "scale": plan.scale, "keep_measured": plan.keep},
        "window": plan.window,
        "shape": list(plan.before.shape),
        "spacing": list(plan.before.spacing),
        "seconds": round(time.perf_counter() - begun, 3),
        "unit": plan.task.unit,
        "normalisation": vars(plan.normalisation),
        "noise_before": noise[0] if noise else None,
        "noise_after": noise[1] if noise else None,
        "change_rms": survey.change,
        "kept_outside_range": survey.outside,
    }
    if job.page is not None:
        try:
            write_text(job.page, report.page(record, survey, restorer.description), overwrite=overwrite)
        except MedleyError as error:
            raise MedleyError(f"{error}; the restored scan itself is finished: {job.output}") from error
    return record


def _summary(record: Mapping[str, Any]) -> str:
    slices = counted(record["shape"][0], "slice")
    text = f"{record['name']}: {record['task']}, {slices} in {record['seconds']:.1f} s"
    if record["noise_before"] is not None:
        text += f", noise {record['noise_before']:.3g} to {record['noise_after']:.3g} {record['unit']}"
    return f"{text} -> {record['output']}"
