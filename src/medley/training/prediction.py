"""The objective of multi-task networks: one loss for each target, on whole cases."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from medley.data.batch import Batch, collate
from medley.data.cases import CaseReader, CaseSampler, problem_of
from medley.data.store import Case, Store
from medley.errors import MedleyError
from medley.metrics.answers import MAIN, summarise
from medley.models.multitask import load_backbone
from medley.models.zoo import create_model
from medley.problems import Target
from medley.scoring.cases import score_case
from medley.training.balance import Losses
from medley.training.losses import target_loss
from medley.training.recipe import PredictionRecipe


class PredictionObjective:
    """See `medley.training.objective`.

    Raises
    ------
    MedleyError: the store holds no cases, lacks a target or an input, or no training case has one of the structures,
        maps or classes of the targets.
    """

    def __init__(self, recipe: PredictionRecipe, store: Store, *, rank: int = 0, ranks: int = 1) -> None:
        self.recipe, self.store = recipe, store
        self.problem = problem_of(store)
        self.tasks = recipe.targets or tuple(target.name for target in self.problem.targets)
        self.auxiliary = nn.ModuleDict()
        self.validate_every = recipe.validate_every
        self._reader = CaseReader(store, self.tasks, recipe.inputs, recipe.crop)
        self._targets = self._reader.targets
        self.continuous = frozenset(target.name for target in self._targets if target.kind == "map")
        self._cases = self._reader.cases("train")
        share = {"batch": recipe.batch, "seed": recipe.seed, "rank": rank, "ranks": ranks}
        self._sampler = CaseSampler(self.problem, self._cases, **share)
        self._check_labels()
        self._class_weights = {one.name: self._weights_of(one) for one in self._targets if one.kind == "classes"}

    def create_network(self) -> nn.Module:
        """The network for these targets and inputs, from `backbone` where the recipe names one."""
        targets = {target.name: (target.level, target.channels) for target in self._targets}
        network = create_model(
            self.recipe.model,
            **self.recipe.config,
            targets=targets,
            dimension=len(self.problem.grid),
            channels=self._reader.channels,
        )
        if self.recipe.backbone:
            load_backbone(network, self.recipe.backbone)
        return network

    def batch(self, step: int) -> Batch:
        """The cases of a step."""
        return collate([self._reader(draw) for draw in self._sampler.draw(step)])

    def losses(self, network: nn.Module, batch: Batch) -> Losses:
        """One loss for each target that at least one case of the batch has."""
        answers = network(batch.input)
        counts = {target.name: self._counts(target, batch) for target in self._targets}
        return {
            target.name: target_loss(
                target,
                answers[target.name],
                batch.targets[target.name],
                counts[target.name],
                class_weights=self._class_weights.get(target.name),
                balanced=self.recipe.voxel_weights == "inverse",
            )
            for target in self._targets
            if counts[target.name].any()
        }

    def _counts(self, target: Target, batch: Batch) -> Tensor:
        counts = batch.counts[target.name]
        if target.kind == "map" and self.recipe.beyond_region:
            return counts.flatten(1).any(dim=1).view(-1, *[1] * (counts.ndim - 1)).expand_as(counts)
        return counts

    def validate(self, network: nn.Module) -> dict[str, float]:
        """The main score of each target over all validation cases; {} where there is none."""
        rows: dict[str, list[dict[str, float]]] = {name: [] for name in self.tasks}
        network.eval()
        for case in self._reader.cases("valid", needed=False):
            for name, row in score_case(network, self._reader, case).items():
                rows[name].append(row)
        scores = {}
        for target in self._targets:
            if rows[target.name]:
                score = MAIN[target.kind]
                scores[f"{target.name} {score}"] = summarise(target, rows[target.name])[score]
        return scores

    def description(self, scores: dict[str, float]) -> dict[str, Any]:
        """The problem, the inputs, the number of training subjects, and the scores of the last validation."""
        subjects = len({case.subject for case in self._cases})
        return {
            "tasks": self.tasks,
            "problem": self.problem.model_dump(mode="json"),
            "inputs": self.recipe.inputs,
            "training": {"train_subjects": subjects, "validation": scores},
        }

    def _check_labels(self) -> None:
        for target in self._targets:
            for name in target.names or (target.name,):
                if not any(_has_label(case, target, name) for case in self._cases):
                    raise MedleyError(
                        f"{self.store.path}: no training case has {name}, so {target.name} cannot be trained; leave "
                        f"{name} out, or prepare cases that have it"
                    )

    def _weights_of(self, target: Target) -> Tensor | None:
        """Weights of a target's classes (K,), mean 1 over the training cases; None for equal ones."""
        if self.recipe.class_weights == "equal":
            return None
        counts = Counter(case.labels[target.name] for case in self._cases if target.name in case.labels)
        return torch.tensor([counts.total() / (len(target.names) * counts[one]) for one in target.names])


def _has_label(case: Case, target: Target, name: str) -> bool:
    """Whether a case has one of a target's structures or classes, or the map itself."""
    if target.kind == "classes":
        return case.labels.get(target.name) == name
    return target.name in case.maps if target.kind == "map" else name in case.drawn.get(target.name, ())
