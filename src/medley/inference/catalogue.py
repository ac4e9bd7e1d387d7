"""What medley can do, as plain data (JSON types). Loads no torch."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from medley.models import weights
from medley.problems import Problem
from medley.tasks import TASKS


def list_models() -> dict[str, dict[str, Any]]:
    """The packaged models: name -> the description in the weights file, see `medley.models.weights.Description`."""
    return {name: asdict(weights.describe(path)) for name, path in weights.packaged().items()}


def list_tasks() -> dict[str, dict[str, Any]]:
    """The restoration tasks by name, and the inputs and targets of the packaged predictors by the name of the model."""
    found = {name: weights.describe(path) for name, path in weights.packaged().items()}
    problems = {name: Problem.model_validate(one.problem).only(one.tasks) for name, one in found.items() if one.problem}
    return {name: asdict(task) for name, task in TASKS.items()} | {
        name: one.model_dump(mode="json") for name, one in problems.items()
    }
