"""What medley can do, as plain data (JSON types). Loads no torch."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from medley.inference.training_scans import described_scans
from medley.models import weights
from medley.models.weights import Description
from medley.tasks import TASKS, Task


def list_models() -> dict[str, dict[str, Any]]:
    """The packaged models: name -> the description in the weights file, see `medley.models.weights.Description`.

    In place of the features of all training scans it has their ranges, see `TrainingScans.summary`.
    """
    found = {name: weights.describe(path) for name, path in weights.packaged().items()}
    return {name: asdict(replace(one, training_scans=_summaries(one))) for name, one in found.items()}


def _summaries(description: Description) -> dict[str, Any]:
    own = Task.model_validate(description.task) if description.task else None
    tasks = [own] if own else [TASKS[name] for name in description.tasks]
    found = {task.name: described_scans(description, task) for task in tasks}
    return {name: scans.summary() for name, scans in found.items() if scans is not None}


def list_tasks() -> dict[str, dict[str, Any]]:
    """The restoration tasks by name, and the tasks of the packaged predictors by the name of the model.

    Each is a `medley.tasks.Task` as JSON.
    """
    return {name: task.model_dump(mode="json") for name, task in {**TASKS, **prediction_tasks()}.items()}


def prediction_tasks() -> dict[str, Task]:
    """The task of each packaged predictor, with the targets that were trained, by the name of the model."""
    found = {name: weights.describe(path) for name, path in weights.packaged().items()}
    return {name: Task.model_validate(one.task).only(one.tasks) for name, one in found.items() if one.task}
