"""`medley tasks` and `medley models`: tables or JSON. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from medley.apps._tables import new_table, show
from medley.inference.catalogue import list_models, list_tasks, prediction_tasks
from medley.models import weights, zoo
from medley.models.weights import Description
from medley.targets import Target
from medley.tasks import TASKS, Task


def tasks(*, as_json: bool = False) -> None:
    """Print the restoration tasks, and what the packaged models predict."""
    if as_json:
        print(json.dumps(list_tasks(), indent=2))
        return
    table = new_table("task", "what it does", "modality", "unit", "range", "scored in", "degradation")
    for task in TASKS.values():
        spec = dict(task.degradation)
        name, parameters = spec.pop("name"), ", ".join(f"{key} {value:g}" for key, value in spec.items())
        degradation = f"{name} ({parameters})" if parameters else name
        span = "0 to 99.9th percentile" if task.scaled else _span(task.range)
        table.add_row(task.name, task.title, task.modality, task.unit, span, _span(task.window), degradation)
    show(table)
    if predictions := prediction_tasks():
        table = new_table("model", "input", "target", "output")
        for name, task in predictions.items():
            for k, target in enumerate(task.targets):
                table.add_row(*(("", "") if k else (name, _input(task))), target.name, _meaning(target))
        show(table)


def models(*, as_json: bool = False) -> None:
    """Print the packaged models and the networks that can be trained."""
    found = {name: weights.describe(path) for name, path in weights.packaged().items()}
    if as_json:
        print(json.dumps(list_models(), indent=2))
        return
    table = new_table(
        "model", "command", "network", "tasks or targets", "steps", "recognises unlike scans", "validation scores"
    )
    for name, description in found.items():
        command = "predict" if description.task else "restore"
        steps = f"{description.training['steps']:,}" if "steps" in description.training else ""
        tasks = ", ".join(description.tasks)
        table.add_row(
            name, command, description.architecture, tasks, steps, _checked(description), _scores(description)
        )
    if found:
        show(table)
    else:
        print("No models are packaged.")
    print(f"Networks to train: {', '.join(zoo.NETWORKS)}")


def _checked(description: Description) -> str:
    """Whether scans that are unlike the training scans are recognised, and for which tasks."""
    names = [str(description.task["name"])] if description.task else description.tasks
    described = [name for name in names if name in description.training_scans]
    return "no check" if not described else "recognised" if len(described) == len(names) else ", ".join(described)


def _span(span: tuple[float, float]) -> str:
    return f"{span[0]:g} to {span[1]:g}"


def _scores(description: Description) -> str:
    """The validation scores in the training record."""
    record: Mapping[str, Any] = description.training
    return ", ".join(
        f"{score_name(name)} {score_text(name, value)}" for name, value in record.get("validation", {}).items()
    )


def score_name(name: str) -> str:
    """The name of a score in a training record, such as "ct-denoise psnr" or "dose dose_score", for display."""
    return name.replace("_", " ").replace("psnr", "PSNR")


def score_text(name: str, value: float) -> str:
    """The value of a score in a training record, with the unit of a PSNR."""
    return f"{value:.2f} dB" if name.endswith("psnr") else f"{value:.3g}"


def _input(task: Task) -> str:
    return f"{task.modality} in {task.unit}" if task.modality else "a photograph"


def _meaning(target: Target) -> str:
    if target.kind == "map":
        return f"a value in {target.unit} for each voxel"
    return f"{'masks of' if target.kind == 'structures' else 'one of'} {', '.join(target.names)}"
