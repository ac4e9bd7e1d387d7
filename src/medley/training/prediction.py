"""The objective of multi-task networks: one loss for each target, on whole records or crops of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medley.data.batch import Batch
from medley.data.readers import RecordReader
from medley.data.record import INPUT, Record
from medley.data.sampling import RecordSampler
from medley.data.store import Store
from medley.errors import MedleyError
from medley.models.multitask import load_backbone
from medley.models.zoo import create_model
from medley.scoring.evaluate import evaluate
from medley.scoring.rows import ScoreRow
from medley.scoring.scorers import PredictionScorer, predict_record
from medley.targets import Target
from medley.training.balance import Losses
from medley.training.losses import target_counts, target_loss
from medley.training.objective import Objective
from medley.training.pictures import beside, labels
from medley.training.recipe import PredictionRecipe


class PredictionObjective(Objective):
    """See `medley.training.objective`.

    Raises
    ------
    MedleyError: the records of the store are for restoration, it lacks a target or an input, or no training record has
        one of the structures, maps or classes of the targets.
    """

    def __init__(self, recipe: PredictionRecipe, store: Store) -> None:
        self.recipe, self.store = recipe, store
        self.task = store.prediction_task()
        self.tasks = recipe.targets or tuple(target.name for target in self.task.targets)
        self.auxiliary = nn.ModuleDict()
        self.validate_every = recipe.validate_every
        self._reader: RecordReader = RecordReader(store, self.tasks, recipe.inputs, recipe.crop)
        self._targets = self._reader.targets
        self.continuous = frozenset(target.name for target in self._targets if target.kind == "map")
        self._records = self._reader.records("train")
        self._sampler = RecordSampler(
            self.task,
            self._records,
            batch=recipe.batch,
            seed=recipe.seed,
            augmentation=recipe.augmentation,
        )
        self._check_labels()
        self._class_weights = {one.name: self._weights_of(one) for one in self._targets if one.kind == "classes"}

    def create_network(self) -> nn.Module:
        """The network for these targets and inputs, from `backbone` where the recipe names one."""
        targets = {target.name: (target.level, target.channels) for target in self._targets}
        network = create_model(
            self.recipe.model,
            **self.recipe.config,
            targets=targets,
            dimension=len(self.task.grid),
            channels=self._reader.channels,
        )
        if self.recipe.backbone:
            load_backbone(network, self.recipe.backbone)
        return network

    def records(self) -> list[Record]:
        """The training and validation records."""
        return [*self._records, *self._reader.records("valid", required=False)]

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """See `medley.training.losses.target_counts`."""
        return {
            target.name: target_counts(
                target, batch.targets[target.name], self._used(target, batch), self._class_weights.get(target.name)
            )
            for target in self._targets
        }

    def losses(self, network: nn.Module, batch: Batch, counts: dict[str, Tensor] | None = None) -> Losses:
        """One loss for each target that at least one record of the step has."""
        counts = self.counts(batch) if counts is None else counts
        outputs = network(batch.input)
        return {
            target.name: target_loss(
                target,
                outputs[target.name],
                batch.targets[target.name],
                self._used(target, batch),
                totals=counts[target.name],
                class_weights=self._class_weights.get(target.name),
                balanced=self.recipe.voxel_weights == "inverse",
            )
            for target in self._targets
            if counts[target.name].any()
        }

    def _used(self, target: Target, batch: Batch) -> Tensor:
        counts = batch.counts[target.name]
        if target.kind == "map" and self.recipe.beyond_region:
            return counts.flatten(1).any(dim=1).view(-1, *[1] * (counts.ndim - 1)).expand_as(counts)
        return counts

    def validate(self, network: nn.Module) -> list[ScoreRow]:
        """The scores of all validation records, without DVH."""
        scorer = PredictionScorer(self.recipe.name, network.eval(), self._reader, dvh=False)
        return evaluate(scorer, self.store, self._reader.records("valid", required=False))

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """One for each map and structures target, of the first validation record that has it, where it is largest."""
        network.eval()
        found = {}
        for target in self._targets:
            records = [one for one in self._reader.records("valid", required=False) if one.has(target)]
            if target.level != "pixel" or not records:
                continue
            output = predict_record(network, self._reader, records[0])[target.name]
            truth = self.store.array(records[0], target.name)[...]
            image = self.store.array(records[0], INPUT)[0]
            if target.kind == "map":
                output = output[None]
            if image.ndim == 3:
                slice_ = int(truth.sum(axis=(0, 2, 3)).argmax())
                image, output, truth = image[slice_], output[:, slice_], truth[:, slice_]
            shown = (output[0], truth[0]) if target.kind == "map" else (labels(output), labels(truth))
            highest = float(truth.max()) if target.kind == "map" else len(target.names)
            panels = [(image, *self.task.range), *((one, 0.0, highest) for one in shown)]
            found[target.name] = beside(panels)
        return found

    def description(self) -> dict[str, Any]:
        """The task, the inputs, and the number of training subjects."""
        subjects = len({record.subject for record in self._records})
        return {
            "tasks": self.tasks,
            "task": self.task.model_dump(mode="json"),
            "inputs": self.recipe.inputs,
            "training": {"train_subjects": subjects},
        }

    def _check_labels(self) -> None:
        for target in self._targets:
            for name in target.names or ("",):
                if not any(record.has(target, name) for record in self._records):
                    what = name or target.name
                    raise MedleyError(
                        f"{self.store.path}: no training record has {what}, so {target.name} cannot be trained; remove "
                        f"{what}, or prepare records that have it"
                    )

    def _weights_of(self, target: Target) -> Tensor | None:
        """Weights of a target's classes (K,), mean 1 over the training records; None for equal ones."""
        if self.recipe.class_weights == "equal":
            return None
        counts = Counter(record.labels[target.name] for record in self._records if target.name in record.labels)
        return torch.tensor([counts.total() / (len(target.names) * counts[one]) for one in target.names])
