"""The state of a training run, and one step of it."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

import medley
from medley.data.batch import Batch
from medley.data.store import Store
from medley.data.training_scans import describe_scans
from medley.errors import MedleyError
from medley.models import weights
from medley.models.blocks import RestorationNetwork
from medley.models.zoo import configuration
from medley.runtime.atomic import one_line
from medley.scoring.rows import ScoreRow
from medley.scoring.summary import main_scores
from medley.training.average import averaged
from medley.training.balance import backward_aggregated, create_aggregator, create_weighting
from medley.training.collective import number, sum_gradients, summed_values, synchronise_norms
from medley.training.objective import Objective
from medley.training.optimization import create_optimizer, learning_rate
from medley.training.patience import Patience
from medley.training.prediction import PredictionObjective
from medley.training.recipe import PredictionRecipe, Recipe, RestorationRecipe, as_record, differing
from medley.training.restoration import RestorationObjective

_TOTAL = ""  # the sum of the weighted losses, beside those of the tasks


def create_objective(recipe: Recipe, store: Store) -> Objective:
    """The objective of a recipe."""
    kinds: dict[type[Recipe], Any] = {
        RestorationRecipe: RestorationObjective,
        PredictionRecipe: PredictionObjective,
    }
    return kinds[type(recipe)](recipe, store)


class Run:
    """The state of training, and one step of it.

    Attributes
    ----------
    objective: the objective. step: finished steps. seconds: time spent in them.
    averaged: exponential moving average of the weights. scores: of the last validation. patience: whether the run ends
    early, and the best weights.

    Raises
    ------
    MedleyError: see `medley.training.loop.train`.
    """

    def __init__(self, recipe: Recipe, fabric: Fabric) -> None:
        self.recipe = recipe
        self.fabric = fabric
        self.store = Store(recipe.store)
        self.step = 0
        self.seconds = 0.0
        self.scores: dict[str, float] = {}
        self.seconds_of_step = 0.0
        self.patience = Patience(recipe.patience)
        torch.manual_seed(recipe.seed)
        self.objective = create_objective(recipe, self.store)
        if recipe.patience and not any(record.split == "valid" for record in self.objective.records()):
            raise MedleyError(f"patience needs validation records, but {self.store.path} has none; remove it")
        network = self.objective.create_network()
        if recipe.start:
            _start_from(recipe.start, network)
        self.config = cast(dict[str, Any], network.config)
        self.averaged = averaged(network, recipe.ema, warmup=recipe.ema_warmup).to(fabric.device)
        synchronise_norms(network)
        self.network = fabric.setup_module(network)
        self.weighting = create_weighting(recipe.balance, self.objective.tasks, self.objective.continuous)
        self.auxiliary = nn.ModuleDict({"weighting": self.weighting, **self.objective.auxiliary}).to(fabric.device)
        self.aggregate = None if recipe.aggregation == "sum" else create_aggregator(recipe.aggregation)
        self.parameters = [*self.network.parameters(), *self.auxiliary.parameters()]
        self.optimizer = cast(
            torch.optim.Optimizer,
            fabric.setup_optimizers(create_optimizer(recipe.optimizer, self.network, self.auxiliary)),
        )

    @classmethod
    def on_one_device(cls, recipe: Recipe) -> Run:
        """A run in this process alone, whatever the recipe's number of devices."""
        return cls(recipe, Fabric(accelerator=recipe.accelerator, devices=1, precision=recipe.precision))

    def batch(self, step: int) -> Batch:
        """The samples of a step that this process computes."""
        return self.objective.batch(step, rank=self.fabric.global_rank, ranks=self.fabric.world_size)

    def advance(self, batch: Batch) -> float:
        """Take one step on `batch` and return its loss, the weighted sum over tasks.

        Raises
        ------
        MedleyError: the loss is not finite; the weights are unchanged.
        """
        begun = time.perf_counter()
        self.network.train()
        self.auxiliary.train()
        torch.manual_seed(hash((self.recipe.seed, self.fabric.global_rank, self.step)))  # the noise of AMIR's routers
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.recipe.steps, self.recipe.optimizer, group.get("highest"))
        self.optimizer.zero_grad()
        total = self._gradients(batch)
        if not math.isfinite(total):
            raise MedleyError(
                f"the loss at step {self.step} is {total}; the last checkpoint is unchanged: train again with a lower "
                f"optimizer.learning_rate, with optimizer.gradient_clip, or with precision 32-true"
            )
        if self.recipe.optimizer.gradient_clip:
            nn.utils.clip_grad_norm_(self.parameters, self.recipe.optimizer.gradient_clip)
        self.optimizer.step()
        self.averaged.update_parameters(self.network.module)
        self.step += 1
        self.seconds_of_step = time.perf_counter() - begun
        self.seconds += self.seconds_of_step
        return total

    def _gradients(self, batch: Batch) -> float:
        """Set the gradients of a step, and return its loss."""
        device = self.fabric.device
        counts = summed_values(self.objective.counts(batch), device)
        sums = dict.fromkeys((*self.objective.tasks, _TOTAL), 0.0)
        for part in batch.to(device).split(self.recipe.micro_batch or len(batch.tasks)):
            for name, loss in self._add_gradients(part, counts).items():
                sums[name] += loss
        present = [task for task in self.objective.tasks if counts[task].any()]
        if (penalty := self.weighting.penalty(present)) is not None:
            self.fabric.backward(penalty / number())
            sums[_TOTAL] += penalty.item() / number()
        sum_gradients(self.parameters)
        losses = summed_values({name: torch.tensor(one, dtype=torch.float64) for name, one in sums.items()}, device)
        self.weighting.record({task: losses[task].item() for task in present})
        return losses[_TOTAL].item()

    def _add_gradients(self, part: Batch, counts: dict[str, Tensor]) -> dict[str, float]:
        """Add the gradients of a part of a step, and return its summands of the losses of tasks and of their sum."""
        losses = self.objective.losses(self.network, part, counts)
        if not losses:
            return {}
        weighted = self.weighting(losses)
        total = torch.stack(list(weighted.values())).sum()
        if self.aggregate is None:
            self.fabric.backward(total)
        else:
            of_tasks = [weighted.pop(task) for task in self.objective.tasks if task in weighted]
            parameters, others = list(self.network.parameters()), list(weighted.values())
            backward_aggregated(of_tasks, others, parameters, self.aggregate, self.fabric.backward)
        found = {name: loss.item() for name, loss in losses.items() if name in self.objective.tasks}
        return {**found, _TOTAL: total.item()}

    def validate(self) -> list[ScoreRow]:
        """The scores of the averaged weights on the validation records."""
        rows = self.objective.validate(self.averaged.module)
        self.scores = main_scores(rows)
        self.patience.add(self.step, self.scores, self.averaged.module.state_dict())
        return rows

    def take_best(self) -> None:
        """With `patience`, make the averaged weights and the scores those of the best validation."""
        if self.patience.best:
            self.averaged.module.load_state_dict(self.patience.best["weights"])
            self.scores = self.patience.best["scores"]

    def description(self) -> weights.Description:
        """The description that is stored in the weights file, with that of the training scans."""
        fields = self.objective.description()
        record = {
            "recipe": as_record(self.recipe),
            "steps": self.step,
            "seconds": round(self.seconds),
            "store": self.store.manifest.settings,
            **fields.pop("training"),
            "validation": self.scores,
            **({"best_step": self.patience.best["step"]} if self.patience.best else {}),
            "torch": torch.__version__,
        }
        return weights.Description(
            name=self.recipe.name,
            architecture=configuration(self.recipe.model)[0],
            config=self.config,
            training=record,
            version=medley.__version__,
            training_scans=describe_scans(self.store, {record.task for record in self.objective.records()}),
            **fields,
        )

    def state(self) -> dict[str, Any]:
        """Everything that changes during training, and the recipe, for a checkpoint."""
        return {
            "recipe": as_record(self.recipe, resolve=True),
            "step": self.step,
            "seconds": self.seconds,
            "scores": self.scores,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "auxiliary": self.auxiliary.state_dict(),
            "patience": self.patience.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from the state in a checkpoint.

        Raises
        ------
        MedleyError: it is of another recipe (the keys that differ are named), has more steps than the recipe, or does
            not fit the network.
        """
        output = self.recipe.output
        try:
            keys = [key for key in differing(state["recipe"], self.recipe, resolve=True) if key != "steps"]
            if keys:
                raise MedleyError(
                    f"{output}: the checkpoint belongs to another recipe ({', '.join(keys)} differ); resume with the "
                    f"recipe it was made with, or choose another output folder"
                )
            if state["step"] > self.recipe.steps:
                raise MedleyError(
                    f"{output}: the checkpoint has {state['step']} steps, more than the {self.recipe.steps} of the "
                    f"recipe; give more steps"
                )
            if "auxiliary" not in state:
                raise MedleyError(
                    f"{output}: the checkpoint was made by an older medley; start again in another output folder"
                )
            self.network.load_state_dict(state["network"])
            self.averaged.load_state_dict(state["averaged"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.auxiliary.load_state_dict(state["auxiliary"])
            if "patience" in state:  # checkpoints of older versions have none
                self.patience.load_state(state["patience"])
            self.step, self.seconds, self.scores = int(state["step"]), float(state["seconds"]), dict(state["scores"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise MedleyError(
                f"{output}: the checkpoint does not fit this version of medley ({one_line(error)}); start again in "
                f"another output folder"
            ) from error


def _start_from(path: Path, network: nn.Module) -> None:
    """Load weights into a network; of a multi-task network, those for other targets are left out.

    A restorer may start from one with other tasks, see `RestorationNetwork.starting_tensors`.

    Raises
    ------
    MedleyError: they are of another network.
    """
    start, description = weights.load(path)
    if isinstance(network, RestorationNetwork) and type(network) is type(start):
        tensors = network.starting_tensors(start)
    else:
        tensors = start.state_dict()
    needed = network.state_dict().keys()
    others = set(description.tasks) - set(cast(dict[str, Any], network.config).get("targets", description.tasks))
    left_out = {name for name in tensors.keys() - needed if others & set(name.split("."))}
    try:
        network.load_state_dict({name: tensor for name, tensor in tensors.items() if name not in left_out})
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise MedleyError(
            f"{path} holds {description.name}, which differs from the network of the recipe: {reason}; start from "
            "weights of the same model, config, targets and inputs"
        ) from error
