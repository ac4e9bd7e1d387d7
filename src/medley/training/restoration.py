"""The objective of restorers: the difference between restored patches and the undegraded ones."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

import medley
from medley.data.batch import Batch, PatchReader, collate
from medley.data.sampler import PatchSampler
from medley.data.store import Store
from medley.models import weights
from medley.models.blocks import Trunk
from medley.models.zoo import CONFIGURATIONS, create_model
from medley.scoring.validate import validate
from medley.training.balance import Losses, TatBalance, distance
from medley.training.recipe import RestorationRecipe


class RestorationObjective:
    """See `medley.training.objective`.

    Raises
    ------
    MedleyError: the store lacks a task.
    """

    def __init__(self, recipe: RestorationRecipe, store: Store, *, rank: int = 0, ranks: int = 1) -> None:
        self.recipe, self.store = recipe, store
        self.tasks = recipe.tasks
        self.continuous = frozenset(recipe.tasks)
        self.auxiliary = nn.ModuleDict({"tat": TatBalance()} if recipe.balance.name == "tat" else {})
        self.validate_every = recipe.validation.every
        mixed = recipe.sampling == "mixed"
        draw = partial(PatchSampler, store, recipe.tasks, patches=recipe.patches, mixed=mixed, seed=recipe.seed)
        self._sampler = draw(rank=rank)
        self._reader = PatchReader(store, recipe.patch)

    def create_network(self) -> nn.Module:
        """The restorer; with `identity_start` its output is initially its input."""
        network = cast(Trunk, create_model(self.recipe.model, **self.recipe.config))
        if self.recipe.identity_start:
            last = [part for part in network.output.modules() if isinstance(part, nn.Conv2d)][-1]
            nn.init.zeros_(last.weight)
        if self.recipe.recompute:
            network.recompute()
        return network

    def batch(self, step: int) -> Batch:
        """The patches of a step."""
        return collate([self._reader(draw) for draw in self._sampler.draw(step)])

    def losses(self, network: nn.Module, batch: Batch) -> Losses:
        """Each task's share of the mean absolute error, so that their sum is the mean over all samples.

        TAT's balancing gives one loss, "image", for all. AMIR's routers add "auxiliary".
        """
        target = batch.targets["image"]
        restored = network(batch.input).float()
        if "tat" in self.auxiliary:
            losses = {"image": self.auxiliary["tat"](batch.input, restored, target)}
        else:
            losses = _by_task(distance(restored, target), batch.tasks)
        auxiliary = getattr(getattr(network, "module", network), "auxiliary_loss", None)
        return losses if auxiliary is None else {**losses, "auxiliary": auxiliary}

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Mean PSNR in dB of each task on a few slices."""
        device = next(network.parameters()).device
        description = weights.Description(
            name=self.recipe.name,
            architecture=CONFIGURATIONS[self.recipe.model][0],
            config={},
            tasks=self.recipe.tasks,
            training={},
            version=medley.__version__,
        )
        found = validate(network, description, self.store, self.recipe.validation.slices, device)
        return {f"{task} psnr": value for task, value in found.items()}

    def description(self, scores: dict[str, float]) -> dict[str, Any]:
        """Tasks, number of training subjects, and the PSNR of the last validation."""
        subjects = {task: len({e.subject for e in self.store.entries("train", task)}) for task in self.recipe.tasks}
        psnr = {name.removesuffix(" psnr"): value for name, value in scores.items()}
        return {"tasks": self.recipe.tasks, "training": {"train_subjects": subjects, "validation_psnr": psnr}}


def _by_task(errors: Tensor, tasks: tuple[str, ...]) -> Losses:
    """Errors (B,) of samples -> for each task the sum of its samples' errors over B."""
    return {
        task: errors[torch.tensor([one == task for one in tasks], device=errors.device)].sum() / len(tasks)
        for task in dict.fromkeys(tasks)
    }
