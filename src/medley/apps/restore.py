"""`medley restore`: restores scans and records what was done to each."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypedDict

import medley
from medley.apps import _restore_report
from medley.apps._error_map import ErrorMap, error_model, open_error_map
from medley.apps._outputs import output_paths
from medley.apps._survey import Survey
from medley.apps._terminal import Update, no_update, watched
from medley.apps.jobs import Job, make_jobs, run_jobs, write_page
from medley.errors import MedleyNotice
from medley.inference import loading
from medley.inference.plan import RestorationPlan
from medley.inference.residual import ResidualTest
from medley.inference.restorer import Restorer, Tap
from medley.io.dicom.provenance import Algorithm
from medley.io.files import find_scans, open_scan, write
from medley.runtime.text import counted


def restore(
    source: Path,
    output: Path,
    *,
    model: str,
    device: str = "auto",
    precision: str = "float32",
    backend: str | None = None,
    options: Mapping[str, Any],
    page: Path | None = None,
    uncertainty: Path | None = None,
    record: Path | None = None,
    form: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Restore every scan at `source`. A scan that fails is reported, and the others are still restored.

    Parameters
    ----------
    source: a file, a DICOM series, a zip, or a folder of them.
    output: the file or DICOM folder of a single scan, or the folder for several.
    precision: "float32" or "bfloat16", see `Restorer`.
    backend: "torch" or "onnx"; None for the one that the model's file is made for.
    options: the options of `Restorer.restore`, see `medley.inference.plan.RestoreOptions`.
    page: the HTML report of a single scan, or a folder for those of several. uncertainty: the map of the expected error
        of a single scan (.nii.gz, .nii or .dcm), or a folder for several. record: JSON file, or "-" for stdout.
    form: "dicom", "nifti", "mha", "nrrd"; None keeps the format of the input.

    Returns
    -------
    The exit code: 0 all scans restored, 1 none, 3 some.

    Raises
    ------
    MedleyError: before any work: there is nothing to restore, no such model, or the results cannot be written.
    """
    scans = find_scans(source)
    jobs = make_jobs(scans, output_paths(scans, output, form), page, uncertainty)
    inputs = [source, loading.find(model)]
    backend = loading.backend_for(model, backend)
    restorer = loading.load_restorer(model, device=device, precision=precision, backend=backend)

    def work(job: Job, update: Update) -> dict[str, Any]:
        return restore_one(restorer, job, options, update, overwrite=overwrite) | {"backend": backend}

    return run_jobs(jobs, work, _summary, inputs=inputs, record=record, overwrite=overwrite, quiet=quiet)


def restore_one(
    restorer: Restorer,
    job: Job,
    options: Mapping[str, Any],
    update: Update = no_update,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Restore one scan, write it and its report, and return its record (plain JSON values).

    Raises
    ------
    MedleyError: the scan cannot be read, restored or written; no part of the result is left.
    """
    begun = time.perf_counter()
    plan = restorer.plan(open_scan(job.scan), **options)
    if plan.likeness is not None and not plan.likeness.alike:
        sentence = plan.likeness.sentence(restorer.description.name)
        warnings.warn(f"{job.scan.name}: {sentence}", MedleyNotice, stacklevel=2)
    survey = Survey(plan, keeps_above=not restorer.reads_conditions)
    test = ResidualTest(plan)
    about: _About = {
        "derivation": _derivation(restorer, plan),
        "mark": _mark(restorer, plan),
        "algorithm": _algorithm(restorer, plan),
        "overwrite": overwrite,
    }
    with ExitStack() as stack:
        taps: list[Tap] = [survey, test]
        errors = None
        if job.error_map is not None:
            model = error_model(restorer, plan)
            append = stack.enter_context(open_error_map(job.error_map, plan, mode=job.mode, **about))
            errors = ErrorMap(plan, model, append, survey.wanted)
            taps.append(errors)
        write(watched(restorer.carry_out(plan, taps), update), job.output, **about)
    noise = survey.noise
    record = {
        "name": job.scan.name,
        "input": str(job.scan.path),
        "output": str(job.output),
        "task": plan.task.name,
        "model": {"name": restorer.description.name, "sha256": restorer.sha256},
        "precision": restorer.precision,
        "version": medley.__version__,
        "parameters": {
            "strength": plan.strength,
            "target_noise": plan.match.wanted if plan.match else None,
            "scale": plan.scale,
            "measured": plan.measured,
            "noise": plan.noise,
        },
        "window": plan.window,
        "shape": list(plan.before.shape),
        "spacing": list(plan.before.spacing),
        "seconds": round(time.perf_counter() - begun, 3),
        "unit": plan.task.unit,
        "normalisation": vars(plan.normalisation),
        "noise_before": noise[0] if noise else None,
        "noise_after": noise[1] if noise else None,
        "noise_unit": survey.noise_unit,
        "noise_match": vars(plan.match) if plan.match else None,
        "change_rms": survey.change,
        "kept_outside_range": survey.outside,
        "padding": survey.padding,
        "likeness": plan.likeness.record() if plan.likeness else None,
        "expected_error": errors.record() | {"map": str(job.error_map)} if errors else None,
        "residual": test.record(),
        "notes": [plan.match.note] if plan.match and plan.match.note else [],
    }
    if job.page is not None:
        html = _restore_report.page(record, survey, test, restorer.description, errors)
        write_page(job, html, overwrite=overwrite)
    return record


class _About(TypedDict):
    """What is written into the header of each result, see `medley.io.files.open_writer`."""

    derivation: str
    mark: str
    algorithm: Algorithm
    overwrite: bool


def _derivation(restorer: Restorer, plan: RestorationPlan) -> str:
    """What was done, for the header of the result; short, because NIfTI has space for 79 characters."""
    words = [f"medley {medley.__version__} {restorer.description.name} {plan.task.name}"]
    if plan.strength < 1:
        words.append(f"strength {plan.strength:g}")
    return " ".join([*words, *_options(restorer, plan)])


def _algorithm(restorer: Restorer, plan: RestorationPlan) -> Algorithm:
    """The network and all its parameters, for the header of a DICOM series."""
    low, high = plan.normalisation.low, plan.normalisation.high
    parameters: dict[str, object] = {
        "strength": _strength(plan),
        "scale": plan.scale,
        "range": f"{low:g} to {high:g} {plan.task.unit}",
        "precision": restorer.precision,
    }
    if plan.measured is not None:
        parameters["measured lines kept"] = "{}x{}".format(*plan.measured)
    if plan.noise is not None:
        parameters["noise"] = f"{plan.noise:g} {plan.task.unit}"
    if plan.window is not None:
        parameters["windows"] = f"{plan.window} pixels"
    return Algorithm(restorer.description.name, restorer.sha256, plan.task.name, parameters)


def _strength(plan: RestorationPlan) -> str:
    """The strength, and how it was chosen."""
    if plan.match is None or plan.match.wanted is None:
        return f"{plan.strength:g}"
    return f"{plan.strength:g} for a noise of {plan.match.wanted:.4g} {plan.match.unit}"


def _mark(restorer: Restorer, plan: RestorationPlan) -> str:
    """What distinguishes the result from others of the same scan, for the description of a DICOM series."""
    return " ".join(["medley", restorer.description.name, f"strength {plan.strength:g}", *_options(restorer, plan)])


def _options(restorer: Restorer, plan: RestorationPlan) -> list[str]:
    """The options other than the strength that are not the default."""
    words = []
    if plan.scale > 1:
        words.append(f"scale {plan.scale}")
    if plan.measured is not None:
        words.append("kept {}x{}".format(*plan.measured))
    if plan.noise is not None:
        words.append(f"noise {plan.noise:g}")
    if plan.window is not None:
        words.append(f"windows {plan.window}")
    if restorer.precision != "float32":
        words.append(restorer.precision)
    return words


def _summary(record: Mapping[str, Any]) -> str:
    slices = counted(record["shape"][0], "slice")
    text = f"{record['name']}: {record['task']}, {slices} in {record['seconds']:.1f} s"
    if record["noise_before"] is not None:
        text += f", noise {record['noise_before']:.3g} to {record['noise_after']:.3g} {record['noise_unit']}"
    if record["noise_match"] is not None:
        text += f", strength {record['parameters']['strength']:g}"
    if regions := record["residual"]["regions"]:
        text += f", {counted(len(regions), 'region')} to look at"
    return f"{text} -> {record['output']}"
