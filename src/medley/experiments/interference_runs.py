"""The states of networks whose interference is measured: weights files, checkpoints, and steps of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medley.data.batch import Batch, batches
from medley.data.store import Store
from medley.errors import MedleyError
from medley.experiments.interference import ALL, Effect, measure
from medley.inference.loading import load_network
from medley.models.zoo import configuration
from medley.training import checkpoint
from medley.training.objective import Objective
from medley.training.recipe import PredictionRecipe, Recipe
from medley.training.run import Run, create_objective
from medley.training.settings import Balance

State = tuple[str, int, nn.Module]  # name of a network, its training steps, and the network
Pairs = Iterator[tuple[Batch, Batch]]  # the batch of the steps, that of the losses


def measure_recipe(
    recipe: Recipe,
    *,
    weights: Sequence[str | Path] = (),
    at: Sequence[int] = (),
    layers: Sequence[str] = (ALL,),
    count: int = 16,
    other_samples: bool = False,
    device: str = "auto",
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> list[Effect]:
    """Interference with the losses and the training samples of a recipe.

    All networks are measured on the same batches, which the training with this recipe does not use.

    Parameters
    ----------
    weights: packaged models, weights files of the recipe's kind of network, or checkpoints (.ckpt) of this recipe.
    at: numbers of training steps; the recipe is trained in memory up to the last one, and nothing is saved.
    layers: see `measure`. count: number of batches.
    other_samples: whether a step and the loss that it changes have independent batches.
    device: of the networks in `weights`; a run uses the accelerator of the recipe.
    progress: called with finished and all steps of work, and what is done.

    Raises
    ------
    MedleyError: the store lacks a task; weights of another network, tasks or inputs; a checkpoint of another recipe; a
        step after the last one of the recipe; as `measure`.
    """
    if late := [step for step in at if not 0 <= step <= recipe.steps]:
        raise MedleyError(
            f"step {late[0]} is not in a run of {recipe.steps} steps; choose one from 0 to {recipe.steps}"
        )
    if not weights and not at:
        raise MedleyError("nothing to measure: give weights, or steps of the run")
    # Each task's loss by itself: some balances combine all tasks in one loss.
    objective = create_objective(recipe.model_copy(update={"balance": Balance()}), Store(recipe.store))
    for record in objective.records():
        objective.store.verify(record)
    total = (len(weights) + len(at)) * count + max(at, default=0)
    done = 0

    def advance(text: str) -> None:
        nonlocal done
        done += 1
        progress(done, total, text)

    effects = []
    for name, step, network in _states(recipe, objective, weights, at, device, advance):
        pairs = _pairs(objective, recipe.steps, count, other_samples)
        effects += measure(
            network,
            partial(objective.losses, network),
            objective.tasks,
            _moved(pairs, next(network.parameters()).device, partial(advance, f"measuring {name}")),
            name=name,
            step=step,
            layers=layers,
        )
    return effects


def _states(
    recipe: Recipe,
    objective: Objective,
    weights: Sequence[str | Path],
    at: Sequence[int],
    device: str,
    advance: Callable[[str], None],
) -> Iterator[State]:
    for one in weights:
        yield (
            _of_checkpoint(recipe, Path(one))
            if Path(one).suffix == ".ckpt"
            else _of_file(recipe, objective, one, device)
        )
    if not at:
        return
    run = Run.on_one_device(recipe)
    wanted = sorted(set(at))
    if 0 in wanted:
        yield recipe.name, 0, run.network.module
    for batch in batches(run.objective.batch, 0, wanted[-1]):
        run.advance(batch)
        advance(f"training {recipe.name}")
        if run.step in wanted:
            yield recipe.name, run.step, run.network.module


def _of_checkpoint(recipe: Recipe, path: Path) -> State:
    run = Run.on_one_device(recipe)
    run.load_state(checkpoint.read(path))
    return recipe.name, run.step, run.network.module


def _of_file(recipe: Recipe, objective: Objective, name: str | Path, device: str) -> State:
    loaded = load_network(name, device, "torch")
    about = loaded.description
    if about.architecture != configuration(recipe.model)[0]:
        raise MedleyError(
            f"{name} is a network of the kind {about.architecture}, but the recipe trains {recipe.model}; give a "
            "recipe of that network"
        )
    if lacking := [task for task in objective.tasks if task not in about.tasks]:
        raise MedleyError(
            f"{name} was not trained for {', '.join(lacking)}, which the recipe has; leave it out with --set"
        )
    if isinstance(recipe, PredictionRecipe):
        _check_outputs(name, loaded.model, about.inputs, recipe, objective)
    return about.name, int(about.training.get("steps", 0)), loaded.model


def _check_outputs(
    name: str | Path, network: nn.Module, inputs: Sequence[str], recipe: PredictionRecipe, objective: Objective
) -> None:
    """The inputs of a predictor, and the channels of its outputs, must be those of the recipe and the store."""
    if tuple(inputs) != tuple(recipe.inputs):
        raise MedleyError(f"{name} has the inputs {', '.join(inputs)}, but the recipe {', '.join(recipe.inputs)}")
    with torch.device("meta"):
        wanted: Any = objective.create_network().config
    found: Any = network.config
    for task in objective.tasks:
        if list(found["targets"][task]) != list(wanted["targets"][task]):
            raise MedleyError(
                f"{name} has {found['targets'][task][1]} channels for {task}, but the store has "
                f"{wanted['targets'][task][1]}; prepare a store of the same structures or classes"
            )


def _pairs(objective: Objective, first: int, count: int, other_samples: bool) -> Pairs:
    """The batches of the steps from `first` on, each with itself or with an independent one."""
    if other_samples:
        stream = batches(objective.batch, first, first + 2 * count)
        return zip(stream, stream, strict=True)
    return ((one, one) for one in batches(objective.batch, first, first + count))


def _moved(pairs: Pairs, device: torch.device, advance: Callable[[], None]) -> Pairs:
    """The batches on a device; `advance` is called after each pair was used."""
    for one, other in pairs:
        yield one.to(device), other.to(device)
        advance()
