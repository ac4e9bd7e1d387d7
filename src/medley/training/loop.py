"""The training loop, plain: read a batch, lose, step, and now and then look and save.

A run can be stopped at any step and resumed to the bit: the draws, the learning rate and the noise of routers depend
on the seed and the step's number, everything else is in the checkpoint.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

import medley
from medley.data.sampler import PatchSampler
from medley.data.samples import Batch, PatchReader, batches
from medley.data.store import Store
from medley.errors import MedleyError
from medley.models import weights
from medley.models.zoo import CONFIGURATIONS, create_model
from medley.training.balance import TatBalance
from medley.training.checkpoint import load_checkpoint, save_checkpoint
from medley.training.recipe import Optimiser, Recipe
from medley.training.validate import validate


@dataclass(frozen=True)
class Progress:
    """What is told after a step: its number of all, the loss, and the last validation's PSNR in dB for each task."""

    step: int
    steps: int
    loss: float
    psnr: dict[str, float]


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
    run = Run(recipe, fabric)
    checkpoint = recipe.output / "last.ckpt"
    if resume:
        run.load_state(load_checkpoint(checkpoint, run.recipe_as_data()))
    elif checkpoint.exists():
        raise MedleyError(
            f"{recipe.output} holds a run already; go on with it (--resume) or give another output folder"
        )
    sampler = PatchSampler(
        run.store,
        recipe.tasks,
        patches=recipe.patches,
        mixed=recipe.sampling == "mixed",
        seed=recipe.seed,
        rank=fabric.global_rank,
    )
    reader = PatchReader(run.store, recipe.patch)
    log = SummaryWriter(str(recipe.output / "tensorboard"), purge_step=run.step) if fabric.is_global_zero else None
    with _stop_after_step() as stop_asked:
        for batch in batches(reader, sampler, run.step, recipe.steps):
            loss = run.advance(batch)
            last = run.step == recipe.steps
            validated = last or run.step % recipe.validation.every == 0
            if validated:
                run.psnr = run.validate()
            if log:
                _write_scalars(log, run, loss, run.psnr if validated else {})
            progress(Progress(run.step, recipe.steps, loss, run.psnr))
            if last or stop_asked() or run.step % recipe.checkpoint_every == 0:
                save_checkpoint(fabric, checkpoint, run.state())
            if stop_asked() and not last:
                raise KeyboardInterrupt
    path = recipe.output / f"{recipe.name}.safetensors"
    if log:
        log.close()
        weights.save(path, run.averaged.module, run.description())
    return path


class Run:
    """The things that change during training, and one step of change.

    Attributes
    ----------
    step: finished steps. seconds: time spent in them. averaged: running mean of the weights. psnr: last validation.
    """

    def __init__(self, recipe: Recipe, fabric: Fabric) -> None:
        self.recipe = recipe
        self.fabric = fabric
        self.store = Store(recipe.store)
        self.step = 0
        self.seconds = 0.0
        self.psnr: dict[str, float] = {}
        torch.manual_seed(recipe.seed)
        network = create_model(recipe.model, **recipe.config)
        if recipe.identity_start:
            last = [part for part in network.output.modules() if isinstance(part, nn.Conv2d)][-1]
            nn.init.zeros_(last.weight)
        self.config = network.config
        self.averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema)).to(fabric.device)
        self.network = fabric.setup_module(network)
        self.balance = fabric.setup_module(TatBalance()) if recipe.balance == "tat" else None
        of = recipe.optimiser
        self.parameters = [*self.network.parameters(), *(self.balance.parameters() if self.balance else ())]
        adamw = torch.optim.AdamW(self.parameters, lr=of.rate, betas=of.betas, weight_decay=of.weight_decay)
        self.optimiser = cast(torch.optim.AdamW, fabric.setup_optimizers(adamw))

    def advance(self, batch: Batch) -> float:
        """Take one step on `batch` and give its loss.

        Raises
        ------
        MedleyError: the loss is not finite; the weights are those before the step.
        """
        begun = time.perf_counter()
        self.network.train()
        torch.manual_seed(hash((self.recipe.seed, self.fabric.global_rank, self.step)))  # the noise of AMIR's routers
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.recipe.steps, self.recipe.optimiser)
        self.optimiser.zero_grad()
        total = 0.0
        for share, low, target in self._parts(batch):
            loss = share * self._loss(low, target)
            self.fabric.backward(loss)
            total += loss.item()
        if not math.isfinite(total):
            raise MedleyError(
                f"the loss at step {self.step} is {total}; the last checkpoint is as it was: resume it with a lower "
                f"optimiser.rate, an optimiser.clip or precision 32-true"
            )
        if self.recipe.optimiser.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.recipe.optimiser.clip)
        self.optimiser.step()
        self.averaged.update_parameters(self.network.module)
        self.step += 1
        self.seconds += time.perf_counter() - begun
        return total

    def _parts(self, batch: Batch) -> Iterator[tuple[float, Tensor, Tensor]]:
        """(share of the batch, input, target) of every pass through the network."""
        low, target = (self.fabric.to_device(one) for one in (batch.input, batch.targets["image"]))
        size = self.recipe.micro_batch or len(low)
        for low_part, target_part in zip(low.split(size), target.split(size), strict=True):
            yield len(low_part) / len(low), low_part, target_part

    def _loss(self, low: Tensor, target: Tensor) -> Tensor:
        restored = self.network(low).float()
        error = self.balance(low, restored, target) if self.balance else (restored - target).abs().mean()
        auxiliary = getattr(self.network.module, "auxiliary_loss", None)
        return error if auxiliary is None else error + auxiliary

    def validate(self) -> dict[str, float]:
        """Mean PSNR in dB of the averaged weights, for each task."""
        count = self.recipe.validation.slices
        return validate(self.averaged.module, self.description(), self.store, count, self.fabric.device)

    def description(self) -> weights.Description:
        """What the weights file will say of itself."""
        settings = self.store.manifest.settings
        people = {task: len({e.subject for e in self.store.entries("train", task)}) for task in self.recipe.tasks}
        record = {
            "recipe": self.recipe_as_data(),
            "steps": self.step,
            "seconds": round(self.seconds),
            "store": settings,
            "train_subjects": people,
            "validation_psnr": self.psnr,
            "torch": torch.__version__,
        }
        return weights.Description(
            name=self.recipe.name,
            architecture=CONFIGURATIONS[self.recipe.model][0],
            config=self.config,
            tasks=self.recipe.tasks,
            training=record,
            version=medley.__version__,
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
            "psnr": self.psnr,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "balance": self.balance.state_dict() if self.balance else None,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's state."""
        self.step, self.seconds, self.psnr = state["step"], state["seconds"], state["psnr"]
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.balance:
            self.balance.load_state_dict(state["balance"])


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


def _write_scalars(log: SummaryWriter, run: Run, loss: float, psnr: dict[str, float]) -> None:
    log.add_scalar("loss", loss, run.step)
    log.add_scalar("rate", run.optimiser.param_groups[0]["lr"], run.step)
    for task, value in psnr.items():
        log.add_scalar(f"psnr/{task}", value, run.step)
