"""`medley degrade`: degrades a good scan and records the parameters, so that it can be made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import medley
from medley.apps._outputs import check_outputs, output_paths, write_json
from medley.apps._settings import parse_settings
from medley.apps._terminal import Update, watched
from medley.apps.jobs import Job, make_jobs, run_jobs
from medley.errors import MedleyError
from medley.io.files import find_scans, open_scan, write
from medley.physics import create_degradation
from medley.runtime.text import counted
from medley.tasks import modality_of, task_named


def degrade(
    source: Path,
    output: Path,
    task_name: str,
    *,
    seed: int = 0,
    settings: Sequence[str] = (),
    show: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Degrade one scan with the degradation of a task; the parameters go to `output` + ".json", with `show` to stdout.

    Returns
    -------
    The exit code: 0 done, 1 failed.

    Raises
    ------
    MedleyError: before any work: several scans; a setting that the degradation does not have.
    """
    task = task_named(task_name)
    scans = find_scans(source)
    if len(scans) > 1:
        raise MedleyError(f"{source}: holds {len(scans)} scans, expected one; degrade them one at a time")
    degradation = create_degradation(**{**task.degradation, **parse_settings(settings)})

    def work(job: Job, update: Update) -> dict[str, Any]:
        volume = open_scan(job.scan)
        if modality_of(volume.modality) not in ("", task.modality):
            raise MedleyError(
                f"{job.scan.path}: is of modality {volume.modality}, but {task.name} is for {task.modality}"
            )
        if volume.unit not in ("", task.unit):
            raise MedleyError(f"{job.scan.path}: is in {volume.unit}, but {task.name} needs {task.unit}")
        parameters = degradation.draw(np.random.default_rng(seed))
        # Values that the file does not state are those of the task.
        stated = volume.with_data(volume.data, modality=task.modality, unit=task.unit)
        worse = watched(degradation.apply(stated, parameters), update)
        derivation = f"medley {medley.__version__} degraded by {degradation.name}"
        write(worse, job.output, derivation=derivation, mark="medley degraded", overwrite=overwrite)
        record = {
            "medley": medley.__version__,
            "input": str(job.scan.path),
            "output": str(job.output),
            "task": task.name,
            "seed": seed,
            "degradation": {"name": degradation.name, "parameters": parameters},
        }
        write_json(_parameters_path(job.output), record, overwrite=overwrite, mode=job.mode)
        if show:
            write_json(Path("-"), record)
        return record | {"name": job.scan.name, "slices": volume.shape[0]}

    jobs = make_jobs(scans, output_paths(scans, output))
    check_outputs(source, [_parameters_path(job.output) for job in jobs], overwrite=overwrite)
    return run_jobs(jobs, work, _summary, inputs=[source], overwrite=overwrite, quiet=quiet)


def _parameters_path(output: Path) -> Path:
    return output.with_name(output.name + ".json")


def _summary(record: Mapping[str, Any]) -> str:
    slices = counted(record["slices"], "slice")
    return f"{record['name']}: {record['degradation']['name']}, {slices} -> {record['output']}"
