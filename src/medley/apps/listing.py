"""`medley tasks` and `medley models`: tables or JSON. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from medley.apps._tables import new_table, show
from medley.inference.catalogue import list_models, list_tasks
from medley.models import weights, zoo
from medley.models.weights import Description
from medley.problems import Problem, Target
from medley.tasks import TASKS


def tasks(*, as_json: bool = False) -> None:
    """Print the restoration tasks, and what the packaged models predict."""
    found = {name: weights.describe(path) for name, path in weights.packaged().items()}
    problems = {name: Problem.model_validate(one.problem).only(one.tasks) for name, one in found.items() if one.problem}
    if as_json:
        print(json.dumps(list_tasks(), indent=2))
        return
    table = new_table("task", "what it does", "modality", "unit", "range", "scored in", "degradation")
    for task in TASKS.values():
        spec = dict(task.degradation)
        degradation = f"{spec.pop('name')} ({', '.join(f'{key} {value:g}' for key, value in spec.items())})"
        span = "0 to 99.9th percentile" if task.scaled else _span(task.range)
        table.add_row(task.name, task.title, task.modality, task.unit, span, _span(task.window), degradation)
    show(table)
    if problems:
        table = new_table("model", "input", "target", "output")
        for name, problem in problems.items():
            for k, target in enumerate(problem.targets):
                table.add_row(*(("", "") if k else (name, _input(problem))), target.name, _meaning(target))
        show(table)


def models(*, as_json: bool = False) -> None:
    """Print the packaged models and the networks that can be trained."""
    found = {name: weights.describe(path) for name, path in weights.packaged().items()}
    if as_json:
        print(json.dumps(list_models(), indent=2))
        return
    table = new_table("model", "command", "network", "tasks or targets", "steps", "validation scores")
    for name, description in found.items():
        command = "predict" if description.problem else "restore"
        steps = f"{description.training['steps']:,}" if "steps" in description.training else ""
        tasks = ", ".join(description.tasks)
        table.add_row(name, command, description.architecture, tasks, steps, _scores(description))
    if found:
        show(table)
    else:
        print("No models are packaged.")
    print(f"Networks to train: {', '.join(zoo.CONFIGURATIONS)}")


def _span(span: tuple[float, float]) -> str:
    return f"{span[0]:g} to {span[1]:g}"


def _scores(description: Description) -> str:
    """The validation scores in the training record."""
    record: Mapping[str, Any] = description.training
    scores = {f"{task} PSNR": f"{value:.2f} dB" for task, value in record.get("validation_psnr", {}).items()}
    scores |= {score.replace("_", " "): f"{value:.3g}" for score, value in record.get("validation", {}).items()}
    return ", ".join(f"{name} {value}" for name, value in scores.items())


def _input(problem: Problem) -> str:
    return f"{problem.modality} in {problem.unit}" if problem.modality else "a photograph"


def _meaning(target: Target) -> str:
    if target.kind == "map":
        return f"a value in {target.unit} for each voxel"
    return f"{'masks of' if target.kind == 'structures' else 'one of'} {', '.join(target.names)}"
