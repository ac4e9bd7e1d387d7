"""The training loop: read a batch, compute losses and gradients, take a step; validate and save at intervals.

A run that is interrupted after any step and resumed ends at bit-identical weights (same machine and versions): samples,
learning rate and the noise of routers depend on the random seed and the step; everything else is in the checkpoint.
With several devices, see `medley.training.processes`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from medley.data.batch import batches
from medley.errors import MedleyError
from medley.models import weights
from medley.runtime.atomic import writing
from medley.runtime.locks import locked
from medley.runtime.plugins import load_plugins
from medley.runtime.signals import deferred_interrupts
from medley.training.checkpoint import Checkpoints
from medley.training.collective import in_any
from medley.training.processes import launched, without_traceback_of_lost_peers
from medley.training.recipe import Recipe
from medley.training.run import Run
from medley.training.validation import ValidationFile


@dataclass(frozen=True)
class Progress:
    """State of a run after a step.

    Attributes
    ----------
    step, steps: finished steps, and all of the run. loss: of the step. scores: of the last validation, by name.
    waiting: share of the time since the start that the steps have waited for their batches, without validations and
        checkpoints.
    """

    step: int
    steps: int
    loss: float
    scores: dict[str, float]
    waiting: float = 0.0


def train(recipe: Recipe, *, resume: bool = False, progress: Callable[[Progress], None] = lambda _: None) -> Path:
    """Train a network; the exponential moving average of its weights is written to OUTPUT/NAME.safetensors.

    The scores of all validations are written to OUTPUT/validation.csv, in the format of `medley evaluate`.

    Ctrl-C, SIGTERM and SIGHUP end the run after the current step with a checkpoint, a second one at once.

    Parameters
    ----------
    recipe: see `medley.training.recipe`.
    resume: continue from OUTPUT/last.ckpt, or OUTPUT/previous.ckpt if that is damaged (with a `MedleyNotice`). The
        recipe may have more steps than before.
    progress: callback after every step; with several processes, in the first one.

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
    fabric = launched(recipe)
    with ExitStack() as stack:
        stack.enter_context(without_traceback_of_lost_peers())
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
        run.take_best()
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
    waited, begun = 0.0, run.seconds
    with deferred_interrupts() as stop:
        steps = batches(run.batch, run.step, run.step if run.patience.ended else recipe.steps)
        while True:
            before = time.perf_counter()
            batch = next(steps, None)
            if batch is None:
                return
            waited += (waiting := time.perf_counter() - before)
            loss = run.advance(batch)
            last = run.step == recipe.steps
            validated = last or run.step % run.objective.validate_every == 0
            if validated:
                rows = run.validate()
                last = last or run.patience.ended
                if log:
                    validation.add(rows, run.step)
                    _write_validation(log, run)
            if log:
                _write_scalars(log, run, loss, waiting)
                progress(Progress(run.step, recipe.steps, loss, run.scores, waited / (waited + run.seconds - begun)))
            stopping = in_any(bool(stop), run.fabric.device)
            if last or stopping or run.step % recipe.checkpoint_every == 0:
                if run.fabric.is_global_zero:
                    checkpoints.save(run.state())
                run.fabric.barrier()
            if last:
                return
            if stopping:
                raise stop.interrupt()


def _write_scalars(log: SummaryWriter, run: Run, loss: float, waiting: float) -> None:
    """The scalars of a step.

    waiting: seconds that the step has waited for its batch.
    """
    log.add_scalar("loss", loss, run.step)
    log.add_scalar("learning_rate", run.optimizer.param_groups[0]["lr"], run.step)
    log.add_scalar("seconds/data", waiting, run.step)
    log.add_scalar("seconds/compute", run.seconds_of_step, run.step)


def _write_validation(log: SummaryWriter, run: Run) -> None:
    """The scores of a validation, and pictures: input, output and target of a slice, beside each other."""
    for name, value in run.scores.items():
        log.add_scalar(f"validation/{name}", value, run.step)
    for name, picture in run.objective.pictures(run.averaged.module).items():
        log.add_image(f"validation/{name}", picture, run.step, dataformats="HW")
