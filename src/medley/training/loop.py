"""The training loop: read a batch, compute losses and gradients, take a step; validate and save at intervals.

A run that is interrupted after any step and resumed ends at bit-identical weights (same machine and versions): samples,
learning rate and the noise of routers depend on the random seed and the step; everything else is in the checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.tensorboard import SummaryWriter

import medley
from medley.data.batch import Batch, batches
from medley.data.store import Store
from medley.errors import MedleyError
from medley.models import weights
from medley.models.zoo import configuration
from medley.runtime.atomic import one_line, writing
from medley.runtime.locks import locked
from medley.runtime.plugins import load_plugins
from medley.runtime.signals import deferred_interrupts
from medley.scoring.summary import main_scores
from medley.training.average import averaged
from medley.training.balance import backward_aggregated, create_aggregator, create_weighting
from medley.training.checkpoint import Checkpoints
from medley.training.muon import Muon
from medley.training.objective import Objective
from medley.training.prediction import PredictionObjective
from medley.training.recipe import PredictionRecipe, Recipe, RestorationRecipe, as_record, differing
from medley.training.restoration import RestorationObjective
from medley.training.settings import Optimizer
from medley.training.validation import ValidationFile


@dataclass(frozen=True)
class Progress:
    """State of a run after a step: finished steps, total steps, loss, and the scores of the last validation by name."""

    step: int
    steps: int
    loss: float
    scores: dict[str, float]


def train(recipe: Recipe, *, resume: bool = False, progress: Callable[[Progress], None] = lambda _: None) -> Path:
    """Train a network; the exponential moving average of its weights is written to OUTPUT/NAME.safetensors.

    The scores of all validations are written to OUTPUT/validation.csv, in the format of `medley evaluate`.

    Ctrl-C, SIGTERM and SIGHUP end the run after the current step with a checkpoint, a second one at once.

    Parameters
    ----------
    recipe: see `medley.training.recipe`.
    resume: continue from OUTPUT/last.ckpt, or OUTPUT/previous.ckpt if that is damaged (with a `MedleyNotice`). The
        recipe may have more steps than before.
    progress: callback after every step.

    Returns
    -------
    The weights file.

    Raises
    ------
    MedleyError: the store lacks a task or is damaged; the output folder has another run or is in use; there is nothing
        to resume; the loss is not finite; a file cannot be written.
    KeyboardInterrupt: after a signal, when the step is finished and a checkpoint saved.
    """
    load_plugins(recipe.plugins)
    fabric = Fabric(accelerator=recipe.accelerator, devices=recipe.devices, precision=recipe.precision)
    fabric.launch()
    with ExitStack() as stack:
        if fabric.is_global_zero:
            stack.enter_context(locked(recipe.output, "training"))
        checkpoints = Checkpoints(recipe.output)
        if not resume and checkpoints.exist():
            raise MedleyError(
                f"{recipe.output} already holds a run; continue it with --resume or choose another output folder"
            )
        run = Run(recipe, fabric)
        for record in run.objective.records():
            run.store.verify(record)
        if resume:
            run.load_state(checkpoints.load())
        validation = ValidationFile(recipe, run.step)
        log = None
        if fabric.is_global_zero:
            log = SummaryWriter(str(recipe.output / "tensorboard"), purge_step=run.step)
            stack.enter_context(closing(log))
        _run_steps(run, checkpoints, validation, log, progress)
        path = recipe.output / f"{recipe.name}.safetensors"
        if fabric.is_global_zero:
            with writing(path):
                weights.save(path, run.averaged.module, run.description())
        return path


def _run_steps(
    run: Run,
    checkpoints: Checkpoints,
    validation: ValidationFile,
    log: SummaryWriter | None,
    progress: Callable[[Progress], None],
) -> None:
    """All remaining steps, with validation, scalars and checkpoints."""
    recipe = run.recipe
    with deferred_interrupts() as stop:
        for batch in batches(run.objective.batch, run.step, recipe.steps):
            loss = run.advance(batch)
            last = run.step == recipe.steps
            validated = last or run.step % run.objective.validate_every == 0
            if validated:
                rows = run.objective.validate(run.averaged.module)
                run.scores = main_scores(rows)
                if run.fabric.is_global_zero:
                    validation.add(rows, run.step)
            if log:
                _write_scalars(log, run, loss, run.scores if validated else {})
            progress(Progress(run.step, recipe.steps, loss, run.scores))
            stopping = bool(stop)
            if last or stopping or run.step % recipe.checkpoint_every == 0:
                if run.fabric.is_global_zero:
                    checkpoints.save(run.state())
                run.fabric.barrier()
            if stopping and not last:
                raise stop.interrupt()


def create_objective(recipe: Recipe, store: Store, *, rank: int = 0, ranks: int = 1) -> Objective:
    """The objective of a recipe."""
    kinds = {RestorationRecipe: RestorationObjective, PredictionRecipe: PredictionObjective}
    return kinds[type(recipe)](recipe, store, rank=rank, ranks=ranks)


class Run:
    """The state of training, and one step of it.

    Attributes
    ----------
    objective: the objective. step: finished steps. seconds: time spent in them.
    averaged: exponential moving average of the weights. scores: of the last validation.
    """

    def __init__(self, recipe: Recipe, fabric: Fabric) -> None:
        self.recipe = recipe
        self.fabric = fabric
        self.store = Store(recipe.store)
        self.step = 0
        self.seconds = 0.0
        self.scores: dict[str, float] = {}
        torch.manual_seed(recipe.seed)
        self.objective = create_objective(recipe, self.store, rank=fabric.global_rank, ranks=fabric.world_size)
        network = self.objective.create_network()
        if recipe.start:
            _start_from(recipe.start, network)
        self.config = cast(dict[str, Any], network.config)
        self.averaged = averaged(network, recipe.ema, warmup=recipe.ema_warmup).to(fabric.device)
        self.network = fabric.setup_module(network)
        self.weighting = create_weighting(recipe.balance, self.objective.tasks, self.objective.continuous)
        self.auxiliary = nn.ModuleDict({"weighting": self.weighting, **self.objective.auxiliary}).to(fabric.device)
        self.aggregate = None if recipe.aggregation == "sum" else create_aggregator(recipe.aggregation)
        self.parameters = [*self.network.parameters(), *self.auxiliary.parameters()]
        self.optimizer = cast(torch.optim.Optimizer, fabric.setup_optimizers(self._create_optimizer()))

    def _create_optimizer(self) -> torch.optim.Optimizer:
        settings = self.recipe.optimizer
        decayed, others = split_by_weight_decay(self.network, self.auxiliary)
        groups = [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": settings.weight_decay if settings.decay_all else 0.0},
        ]
        common: dict[str, Any] = {"lr": settings.learning_rate, "betas": settings.betas, "eps": settings.epsilon}
        if settings.name == "muon":
            groups = muon_groups(groups, settings.muon_learning_rate)
            return Muon(groups, momentum=settings.momentum, **common)
        return torch.optim.AdamW(groups, **common)

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
        parts = list(self._parts(batch))
        total = 0.0
        for k, (share, part) in enumerate(parts):
            # Devices exchange gradients once in a step, in the last backward pass.
            with self.fabric.no_backward_sync(self.network, enabled=k < len(parts) - 1):
                total += self._add_gradients(share, part)
        if not math.isfinite(total):
            raise MedleyError(
                f"the loss at step {self.step} is {total}; the last checkpoint is unchanged: train again with a lower "
                f"optimizer.learning_rate, with optimizer.gradient_clip, or with precision 32-true"
            )
        self._average_auxiliary_gradients()
        if self.recipe.optimizer.gradient_clip:
            nn.utils.clip_grad_norm_(self.parameters, self.recipe.optimizer.gradient_clip)
        self.optimizer.step()
        self.averaged.update_parameters(self.network.module)
        self.step += 1
        self.seconds += time.perf_counter() - begun
        return total

    def _parts(self, batch: Batch) -> Iterator[tuple[float, Batch]]:
        """(fraction of the batch, part) of each pass through the network."""
        batch = batch.to(self.fabric.device)
        whole = len(batch.tasks)
        for part in batch.split(getattr(self.recipe, "micro_batch", None) or whole):
            yield len(part.tasks) / whole, part

    def _add_gradients(self, share: float, part: Batch) -> float:
        """Add a part's gradients and return its part of the loss; a part without labels adds nothing."""
        weighted = self.weighting(self.objective.losses(self.network, part))
        losses = {name: share * loss for name, loss in weighted.items()}
        if not losses:
            return 0.0
        if self.aggregate is None:
            self.fabric.backward(torch.stack(list(losses.values())).sum())
        else:
            of_tasks = [losses.pop(task) for task in self.objective.tasks if task in losses]
            parameters, others = list(self.network.parameters()), list(losses.values())
            backward_aggregated(of_tasks, others, parameters, self.aggregate, self.fabric.backward)
        return sum(loss.item() for loss in weighted.values()) * share

    def _average_auxiliary_gradients(self) -> None:
        """Average the gradients of auxiliary modules over all devices, as Fabric does for those of the network."""
        for parameter in self.auxiliary.parameters() if self.fabric.world_size > 1 else ():
            if parameter.grad is not None:
                parameter.grad = cast(torch.Tensor, self.fabric.all_reduce(parameter.grad, reduce_op="mean"))

    def description(self) -> weights.Description:
        """The description that is stored in the weights file."""
        fields = self.objective.description()
        record = {
            "recipe": as_record(self.recipe),
            "steps": self.step,
            "seconds": round(self.seconds),
            "store": self.store.manifest.settings,
            **fields.pop("training"),
            "validation": self.scores,
            "torch": torch.__version__,
        }
        return weights.Description(
            name=self.recipe.name,
            architecture=configuration(self.recipe.model)[0],
            config=self.config,
            training=record,
            version=medley.__version__,
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
            self.step, self.seconds, self.scores = int(state["step"]), float(state["seconds"]), dict(state["scores"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise MedleyError(
                f"{output}: the checkpoint does not fit this version of medley ({one_line(error)}); start again in "
                f"another output folder"
            ) from error


def split_by_weight_decay(network: nn.Module, auxiliary: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters that weight decay applies to, and all others (to which it applies with `decay_all`).

    Decay applies to the weights of convolutions and linear layers of the network. It does not apply to biases,
    normalisation layers, attention temperatures, routers, nor to auxiliary modules (loss balancing), for which zero is
    no natural value.
    """
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        is_weight = name.rpartition(".")[2] == "weight" and parameter.ndim >= 2
        (decayed if is_weight else others).append(parameter)
    return decayed, [*others, *auxiliary.parameters()]


def muon_groups(groups: list[dict[str, Any]], rate: float | None) -> list[dict[str, Any]]:
    """The groups (with weight decay, without) for Muon, see `medley.training.settings.Optimizer`."""
    decayed, others = groups
    if rate is None:
        return [{**decayed, "muon": True}, others]

    def is_kernel(one: nn.Parameter) -> bool:
        return one.ndim > 3 and one[0, 0].numel() > 1

    of_muon, of_adamw = [], []
    for group in groups:
        kernels = [one for one in group["params"] if is_kernel(one)]
        of_muon.append({**group, "params": kernels, "muon": True, "scaled": False, "highest": rate})
        of_adamw.append({**group, "params": [one for one in group["params"] if not is_kernel(one)]})
    return [group for group in (*of_muon, *of_adamw) if group["params"]]


def learning_rate(step: int, steps: int, optimizer: Optimizer, highest: float | None = None) -> float:
    """The learning rate at a step (from 0) of `steps`: linear warm-up, then half a cosine.

    highest: of a group of parameters; None: `optimizer.learning_rate`.

    A run that is resumed with more steps continues on the schedule of the longer run, so the rate can rise there.
    """
    highest = highest or optimizer.learning_rate
    if step < optimizer.warmup_steps:
        return highest * (step + 1) / optimizer.warmup_steps
    fraction = (step - optimizer.warmup_steps) / max(steps - optimizer.warmup_steps, 1)
    span = highest - optimizer.final_learning_rate
    return optimizer.final_learning_rate + span * (1 + math.cos(math.pi * fraction)) / 2


def _start_from(path: Path, network: nn.Module) -> None:
    start, description = weights.load(path)
    try:
        network.load_state_dict(start.state_dict())
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise MedleyError(
            f"{path} holds {description.name}, which differs from the network of the recipe: {reason}; start from "
            "weights of the same model, config, targets and inputs"
        ) from error


def _write_scalars(log: SummaryWriter, run: Run, loss: float, scores: dict[str, float]) -> None:
    log.add_scalar("loss", loss, run.step)
    log.add_scalar("learning_rate", run.optimizer.param_groups[0]["lr"], run.step)
    for name, value in scores.items():
        log.add_scalar(f"validation/{name}", value, run.step)
