"""The training loop, plain: read a batch, lose, step, and now and then look and save.

A run can be stopped at any step and resumed to the bit: the draws, the learning rate and the noise of routers depend
on the seed and the step's number, everything else is in the checkpoint.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

import medley
from medley.data.batch import Batch, batches
from medley.data.store import Store
from medley.errors import MedleyError
from medley.models import weights
from medley.models.zoo import CONFIGURATIONS
from medley.runtime.locks import locked
from medley.training.balance import backward_aggregated, create_aggregator, create_weighting
from medley.training.checkpoint import load_checkpoint, save_checkpoint
from medley.training.lesson import Lesson
from medley.training.prediction import Prediction
from medley.training.recipe import Optimiser, PredictionRecipe, Recipe, RestorationRecipe
from medley.training.restoration import Restoration


@dataclass(frozen=True)
class Progress:
    """What is told after a step: its number of all, the loss, and the last validation's scores by their names."""

    step: int
    steps: int
    loss: float
    scores: dict[str, float]


def train(recipe: Recipe, *, resume: bool = False, progress: Callable[[Progress], None] = lambda _: None) -> Path:
    """Train as the recipe says; the running mean of the weights is written to OUTPUT/NAME.safetensors.

    Parameters
    ----------
    recipe: see `medley.training.recipe`.
    resume: go on from OUTPUT/last.ckpt.
    progress: called after every step.

    Returns
    -------
    The weights file.

    Raises
    ------
    MedleyError: the store lacks a task; the output folder holds another run; the loss is not finite.
    KeyboardInterrupt: after Ctrl-C, when the step was finished and a checkpoint saved.
    """
    fabric = Fabric(accelerator=recipe.accelerator, devices=recipe.devices, precision=recipe.precision)
    fabric.launch()
    with locked(recipe.output, "training") if fabric.is_global_zero else nullcontext():
        return _train(recipe, fabric, resume, progress)


def _train(recipe: Recipe, fabric: Fabric, resume: bool, progress: Callable[[Progress], None]) -> Path:
    run = Run(recipe, fabric)
    checkpoint = recipe.output / "last.ckpt"
    if resume:
        run.load_state(load_checkpoint(checkpoint, run.recipe_as_data()))
    elif checkpoint.exists():
        raise MedleyError(
            f"{recipe.output} holds a run already; go on with it (--resume) or give another output folder"
        )
    log = SummaryWriter(str(recipe.output / "tensorboard"), purge_step=run.step) if fabric.is_global_zero else None
    with _stop_after_step() as stop_asked:
        for batch in batches(run.lesson.batch, run.step, recipe.steps):
            loss = run.advance(batch)
            last = run.step == recipe.steps
            validated = last or run.step % run.lesson.validate_every == 0
            if validated:
                run.scores = run.lesson.validate(run.averaged.module)
            if log:
                _write_scalars(log, run, loss, run.scores if validated else {})
            progress(Progress(run.step, recipe.steps, loss, run.scores))
            if last or stop_asked() or run.step % recipe.checkpoint_every == 0:
                save_checkpoint(fabric, checkpoint, run.state())
            if stop_asked() and not last:
                raise KeyboardInterrupt
    path = recipe.output / f"{recipe.name}.safetensors"
    if log:
        log.close()
        weights.save(path, run.averaged.module, run.description())
    return path


def create_lesson(recipe: Recipe, store: Store, *, rank: int = 0, ranks: int = 1) -> Lesson:
    """What a recipe's network learns."""
    kinds = {RestorationRecipe: Restoration, PredictionRecipe: Prediction}
    return kinds[type(recipe)](recipe, store, rank=rank, ranks=ranks)


class Run:
    """The things that change during training, and one step of change.

    Attributes
    ----------
    lesson: what is learnt. step: finished steps. seconds: time spent in them.
    averaged: running mean of the weights. scores: those of the last validation.
    """

    def __init__(self, recipe: Recipe, fabric: Fabric) -> None:
        self.recipe = recipe
        self.fabric = fabric
        self.store = Store(recipe.store)
        self.step = 0
        self.seconds = 0.0
        self.scores: dict[str, float] = {}
        torch.manual_seed(recipe.seed)
        self.lesson = create_lesson(recipe, self.store, rank=fabric.global_rank, ranks=fabric.world_size)
        network = self.lesson.create_network()
        if recipe.start:
            _start_from(recipe.start, network)
        self.config = cast(dict[str, Any], network.config)
        self.averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema)).to(fabric.device)
        self.network = fabric.setup_module(network)
        self.weighting = create_weighting(recipe.balance, self.lesson.tasks, self.lesson.continuous)
        self.helpers = nn.ModuleDict({"weighting": self.weighting, **self.lesson.helpers}).to(fabric.device)
        self.aggregate = None if recipe.aggregation == "sum" else create_aggregator(recipe.aggregation)
        of = recipe.optimiser
        self.parameters = [*self.network.parameters(), *self.helpers.parameters()]
        adamw = torch.optim.AdamW(self.parameters, lr=of.rate, betas=of.betas, weight_decay=of.weight_decay)
        self.optimiser = cast(torch.optim.AdamW, fabric.setup_optimizers(adamw))

    def advance(self, batch: Batch) -> float:
        """Take one step on `batch` and give its loss, the weighed sum of the tasks'.

        Raises
        ------
        MedleyError: the loss is not finite; the weights are those before the step.
        """
        begun = time.perf_counter()
        self.network.train()
        self.helpers.train()
        torch.manual_seed(hash((self.recipe.seed, self.fabric.global_rank, self.step)))  # the noise of AMIR's routers
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.recipe.steps, self.recipe.optimiser)
        self.optimiser.zero_grad()
        total = sum(self._learn(share, part) for share, part in self._parts(batch))
        if not math.isfinite(total):
            raise MedleyError(
                f"the loss at step {self.step} is {total}; the last checkpoint is as it was: resume it with a lower "
                f"optimiser.rate, an optimiser.clip or precision 32-true"
            )
        self._share_gradients_of_helpers()
        if self.recipe.optimiser.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.recipe.optimiser.clip)
        self.optimiser.step()
        self.averaged.update_parameters(self.network.module)
        self.step += 1
        self.seconds += time.perf_counter() - begun
        return total

    def _parts(self, batch: Batch) -> Iterator[tuple[float, Batch]]:
        """(share of the batch, part) of every pass through the network."""
        batch = batch.to(self.fabric.device)
        whole = len(batch.tasks)
        for part in batch.split(getattr(self.recipe, "micro_batch", None) or whole):
            yield len(part.tasks) / whole, part

    def _learn(self, share: float, part: Batch) -> float:
        """Add a part's share to the gradients and give its share of the loss; a part without labels adds nothing."""
        weighed = self.weighting(self.lesson.losses(self.network, part))
        losses = {name: share * loss for name, loss in weighed.items()}
        if not losses:
            return 0.0
        if self.aggregate is None:
            self.fabric.backward(torch.stack(list(losses.values())).sum())
        else:
            of_tasks = [losses.pop(task) for task in self.lesson.tasks if task in losses]
            parameters, others = list(self.network.parameters()), list(losses.values())
            backward_aggregated(of_tasks, others, parameters, self.aggregate, self.fabric.backward)
        return sum(loss.item() for loss in weighed.values()) * share

    def _share_gradients_of_helpers(self) -> None:
        """Make them the mean over all devices, as Fabric makes the network's."""
        for parameter in self.helpers.parameters() if self.fabric.world_size > 1 else ():
            if parameter.grad is not None:
                parameter.grad = cast(torch.Tensor, self.fabric.all_reduce(parameter.grad, reduce_op="mean"))

    def description(self) -> weights.Description:
        """What the weights file will say of itself."""
        said = self.lesson.description(self.scores)
        record = {
            "recipe": self.recipe_as_data(),
            "steps": self.step,
            "seconds": round(self.seconds),
            "store": self.store.manifest.settings,
            **said.pop("training"),
            "torch": torch.__version__,
        }
        return weights.Description(
            name=self.recipe.name,
            architecture=CONFIGURATIONS[self.recipe.model][0],
            config=self.config,
            training=record,
            version=medley.__version__,
            **said,
        )

    def recipe_as_data(self) -> dict[str, Any]:
        """The recipe as plain values."""
        return self.recipe.model_dump(mode="json")

    def state(self) -> dict[str, Any]:
        """All that changes, for a checkpoint."""
        return {
            "recipe": self.recipe_as_data(),
            "step": self.step,
            "seconds": self.seconds,
            "scores": self.scores,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "helpers": self.helpers.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's state."""
        self.step, self.seconds, self.scores = state["step"], state["seconds"], state["scores"]
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.helpers.load_state_dict(state["helpers"])


def learning_rate(step: int, steps: int, optimiser: Optimiser) -> float:
    """The learning rate of a step (from 0) of `steps`: a linear rise over the warm-up, then half a cosine."""
    if step < optimiser.warmup:
        return optimiser.rate * (step + 1) / optimiser.warmup
    along = (step - optimiser.warmup) / max(steps - optimiser.warmup, 1)
    return optimiser.final_rate + (optimiser.rate - optimiser.final_rate) * (1 + math.cos(math.pi * along)) / 2


@contextmanager
def _stop_after_step() -> Iterator[Callable[[], bool]]:
    """Ctrl-C (or a polite kill) within this context asks for a stop; a second one stops at once."""
    asked = False

    def ask(signum: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start_from(path: Path, network: nn.Module) -> None:
    there, description = weights.load(path)
    try:
        network.load_state_dict(there.state_dict())
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise MedleyError(
            f"{path} holds {description.name}, another network than the recipe's: {reason}; start from weights of the "
            "same model, config, targets and inputs"
        ) from error


def _write_scalars(log: SummaryWriter, run: Run, loss: float, scores: dict[str, float]) -> None:
    log.add_scalar("loss", loss, run.step)
    log.add_scalar("rate", run.optimiser.param_groups[0]["lr"], run.step)
    for name, value in scores.items():
        log.add_scalar(f"validation/{name}", value, run.step)
