"""`medley degrade`: a good scan made worse, and how, so that it can be made again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import medley
from medley.apps.outputs import check_outputs, output_paths, write_json
from medley.apps.settings import parse_settings
from medley.apps.terminal import counted, progress, say, watched
from medley.errors import MedleyError
from medley.io.files import find_scans, open_scan, write
from medley.physics import create_degradation
from medley.tasks import task_named


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
) -> None:
    """Degrade one scan as the task expects it; the parameters go to `output` + ".json", and to stdout with `show`.

    Raises
    ------
    MedleyError: several scans; a scan of another modality; a setting the degradation does not know.
    """
    task = task_named(task_name)
    scans = find_scans(source)
    if len(scans) > 1:
        raise MedleyError(f"{source}: holds {len(scans)} scans, expected one; degrade them one at a time")
    [scan], [target] = scans, output_paths(scans, output)
    note = target.with_name(target.name + ".json")
    check_outputs(source, [target, note], overwrite=overwrite)
    volume = open_scan(scan)
    if volume.modality not in ("", task.modality):
        raise MedleyError(f"{scan.path}: is of modality {volume.modality}, but {task.name} is for {task.modality}")
    degradation = create_degradation(**{**task.degradation, **parse_settings(settings)})
    parameters = degradation.draw(np.random.default_rng(seed))
    with progress(scan.name, quiet=quiet) as update:
        said = volume.with_data(volume.data, modality=task.modality, unit=task.unit)  # by the file or by the task
        worse = watched(degradation.apply(said, parameters), update)
        derivation = f"medley {medley.__version__} degraded by {degradation.name}"
        write(worse, target, derivation=derivation, mark="medley degraded", overwrite=overwrite)
    record = {
        "medley": medley.__version__,
        "input": str(scan.path),
        "output": str(target),
        "task": task.name,
        "seed": seed,
        "degradation": {"name": degradation.name, "parameters": parameters},
    }
    write_json(note, record, overwrite=overwrite)
    if show:
        write_json(Path("-"), record)
    say(
        f"{scan.name}: {degradation.name}, {counted(volume.shape[0], 'slice')} -> {target}",
        quiet=quiet,
    )
