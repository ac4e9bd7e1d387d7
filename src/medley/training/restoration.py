"""The objective of restorers: the difference between restored patches and the undegraded ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

import medley
from medley.data.batch import Batch
from medley.data.readers import PatchReader, SlabReader
from medley.data.record import INPUT, Record
from medley.data.sampling import PatchSampler
from medley.data.store import Store
from medley.data.target_noise import target_noise
from medley.errors import MedleyError
from medley.inference.restorer import Restorer
from medley.inference.strength import TARGET_NOISE
from medley.models import weights
from medley.models.blocks import RestorationNetwork
from medley.models.unih3 import UniH3
from medley.models.zoo import configuration, create_model, network_arguments
from medley.scoring.evaluate import evaluate
from medley.scoring.methods import Network
from medley.scoring.rows import ScoreRow
from medley.scoring.scorers import RestorationScorer, some_slices
from medley.slabs import UNKNOWN, slabs_of
from medley.targets import IMAGE
from medley.training.balance import Losses, TatBalance, UniH3Balance
from medley.training.losses import LOSSES
from medley.training.objective import Objective
from medley.training.pictures import beside
from medley.training.recipe import RestorationRecipe


class RestorationObjective(Objective):
    """See `medley.training.objective`.

    Raises
    ------
    MedleyError: the store lacks a task.
    """

    def __init__(self, recipe: RestorationRecipe, store: Store) -> None:
        self.recipe, self.store = recipe, store
        self.tasks = recipe.tasks
        self.continuous = frozenset(recipe.tasks)
        balances: dict[str, Callable[[], nn.Module]] = {"tat": TatBalance, "unih3": partial(UniH3Balance, recipe.tasks)}
        name = recipe.balance.name
        self.auxiliary = nn.ModuleDict({name: balances[name]()} if recipe.balance.by_sample else {})
        self.validate_every = recipe.validation.every
        arguments = network_arguments(recipe.model, recipe.config)
        order = self._scales = arguments["tasks"] if "reach" in arguments else {}
        if recipe.loss == "scaled" and not order:
            raise MedleyError(f"the loss scaled needs the scales of slab's tasks, which {recipe.model} has not; use l1")
        if unknown := ", ".join(set(recipe.tasks) - set(order or recipe.tasks)):
            raise MedleyError(f"the network {recipe.model} has no task {unknown}; add it to config.tasks")
        self._reader = (
            SlabReader(store, recipe.patch, arguments["reach"], tuple(order))
            if order
            else PatchReader(store, recipe.patch)
        )
        self._sampler = PatchSampler(
            store,
            recipe.tasks,
            patches=recipe.patches,
            temperature=recipe.sampling.temperature,
            shares=recipe.sampling.shares,
            alone=recipe.drop_neighbours if order else 0.0,
            exponent=recipe.voxel_exponent,
            seed=recipe.seed,
        )

    def create_network(self) -> nn.Module:
        """The restorer; with `identity_start` its output is initially its input."""
        network = cast(RestorationNetwork, create_model(self.recipe.model, **self.recipe.config))
        if not isinstance(network, RestorationNetwork) and (self.recipe.identity_start or self.recipe.recompute):
            raise MedleyError(
                f"the network {self.recipe.model} is no RestorationNetwork, which identity_start and recompute need; "
                "set them to false"
            )
        if self.recipe.identity_start:
            last = [part for part in network.output.modules() if isinstance(part, nn.Conv2d)][-1]
            nn.init.zeros_(last.weight)
        if self.recipe.recompute:
            network.recompute()
        return network

    def records(self) -> list[Record]:
        """The training and validation records of the tasks."""
        return [record for split in ("train", "valid") for record in self._of_split(split)]

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """The number of samples of each task, (1,)."""
        return {task: torch.tensor([batch.tasks.count(task)], dtype=torch.float64) for task in self.tasks}

    def losses(self, network: nn.Module, batch: Batch, counts: dict[str, Tensor] | None = None) -> Losses:
        """Each task's share of the mean absolute error, so that their sum is the mean over all samples.

        The balancing of TAT and of UniH3 gives one loss, "image", for all tasks. AMIR's routers add "auxiliary". The
        memory of UniH3 collects features of the targets.
        """
        samples = sum(float(one) for one in (self.counts(batch) if counts is None else counts).values())
        share = len(batch.tasks) / samples
        target = batch.targets[IMAGE]
        collects = isinstance(getattr(network, "module", network), UniH3)
        restored = (network(batch.input, target, batch.tasks) if collects else network(*batch.inputs)).float()
        if "tat" in self.auxiliary:
            losses = {IMAGE: share * self.auxiliary["tat"](batch.input, restored, target)}
        elif "unih3" in self.auxiliary:
            losses = {IMAGE: share * self.auxiliary["unih3"](batch.input, restored, target, batch.tasks)}
        else:
            losses = _by_task(self._errors(restored, target, batch), batch.tasks, samples)
        auxiliary = getattr(getattr(network, "module", network), "auxiliary_loss", None)
        return losses if auxiliary is None else {**losses, "auxiliary": share * auxiliary}

    def _errors(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        """The error of every sample, (B,)."""
        scales = target.new_tensor([self._scales[task] for task in batch.tasks]) if self._scales else None
        errors = LOSSES.named(self.recipe.loss)(restored, target, scales)
        if errors.shape != (len(target),):
            raise MedleyError(
                f"the loss {self.recipe.loss} returned values of shape {tuple(errors.shape)}; expected one for each of "
                f"the {len(target)} samples"
            )
        return errors

    def validate(self, network: nn.Module) -> list[ScoreRow]:
        """The scores of each task on a few slices, spread evenly over the validation records."""
        method = self._method(network)
        rows = []
        for task in self.tasks:
            records = _spread(self.store.records("valid", task), self.recipe.validation.slices)
            slices = max(1, self.recipe.validation.slices // max(len(records), 1))
            rows += evaluate(RestorationScorer(method, slices), self.store, records)
        return rows

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """One for each task, in its window: a middle slice of its first validation record."""
        method = self._method(network)
        found = {}
        for name in self.tasks:
            for record in self.store.records("valid", name)[:1]:
                at = some_slices(record.shape[0], 1)
                slabs = slabs_of(self.store.array(record, INPUT), at, method.reach, record.spacing or UNKNOWN)
                restored = method.restore(slabs, name, record.normalisation)
                task = self.store.task(record)
                low, high = (edge / task.factor(record.normalisation.high) for edge in task.window)
                images = (slabs.centre[0], restored[0], self.store.array(record, IMAGE)[0, at[0]])
                found[name] = beside([(image, low, high) for image in images])
        return found

    def _method(self, network: nn.Module) -> Network:
        description = weights.Description(
            name=self.recipe.name,
            architecture=configuration(self.recipe.model)[0],
            config={},
            tasks=self.recipe.tasks,
            training={},
            version=medley.__version__,
        )
        device = next(network.parameters()).device
        return Network(Restorer(network.eval(), description, device=device))

    def description(self) -> dict[str, Any]:
        """The tasks, the number of training subjects of each, and the noise of their targets."""
        subjects = {task: len({one.subject for one in self.store.records("train", task)}) for task in self.tasks}
        return {"tasks": self.tasks, "training": {"train_subjects": subjects, TARGET_NOISE: self._target_noise}}

    @cached_property
    def _target_noise(self) -> dict[str, float]:
        return target_noise(self.store, self.tasks)

    def _of_split(self, split: str) -> list[Record]:
        return [record for task in self.tasks for record in self.store.records(split, task)]


def _spread(records: list[Record], count: int) -> list[Record]:
    """At most `count` of the records, evenly spread over the list."""
    count = min(count, len(records))
    return [records[k * len(records) // count] for k in range(count)]


def _by_task(errors: Tensor, tasks: tuple[str, ...], samples: float) -> Losses:
    """Errors (B,) of samples -> for each task the sum of its samples' errors, divided by the number of all samples."""
    return {
        task: errors[torch.tensor([one == task for one in tasks], device=errors.device)].sum() / samples
        for task in dict.fromkeys(tasks)
    }
