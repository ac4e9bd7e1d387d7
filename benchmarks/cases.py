"""The cases that are timed: a network, a kind of work, a form. Each runs in a separate process."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

import numpy as np
import torch
from torch import nn

import medley
from medley.io.nifti import write_nifti
from medley.models import export, weights
from medley.models.blocks import Trunk
from medley.models.fast import textbook
from medley.models.onnx_network import OnnxNetwork
from medley.models.precision import in_precision
from medley.models.zoo import configuration, create_model
from medley.runtime.allocator import keep_buffers
from medley.tasks import TASKS
from medley.volume import Slices, Volume

FAST, PLAIN, UNTUNED = "fast", "plain", "plain untuned"  # the last with the default allocator
ONNX, PROGRAM = "onnx", "torch.export"  # exported files, see `medley.models.export`
STEPS = ("step", "lean step", "whole step")


@dataclass(frozen=True)
class Case:
    """A network and the kind of work that is timed.

    Attributes
    ----------
    network: its name in `medley.models.zoo`.
    what: "slices" is one forward pass; "step" is a training step, one sample at a time (micro_batch: 1),
        "lean step" the same with `recompute`, "whole step" with the whole batch at once; "volume" is `medley restore`
        of a CT, from file to file.
    count, side: number of slices or patches, and their side in pixels.
    precision: "float32" or "bfloat16".
    """

    network: str
    what: str
    count: int
    side: int
    precision: str

    @property
    def passes(self) -> int:
        """The cost of the case in forward passes of one slice; a backward pass costs two."""
        return self.count * (3 if self.what in STEPS else 1)


def prepare(case: Case, form: str) -> Callable[[], None]:
    """A function that runs the case once; it raises RuntimeError if a command fails."""
    if form != UNTUNED:
        keep_buffers()  # as the commands do
    torch.manual_seed(0)
    if case.what == "volume":
        return _volume(case)
    model = exported(case.network, form) if form in (ONNX, PROGRAM) else create_model(case.network)
    if form in (PLAIN, UNTUNED):
        model = textbook(model)
    return _step(case, model) if case.what in STEPS else _slices(case, model, form)


def _slices(case: Case, model: nn.Module, form: str) -> Callable[[], None]:
    """In bfloat16 the fast form is that of medley; the textbook form uses autocast, as other programs do."""
    images = torch.rand(case.count, 1, case.side, case.side)
    autocast = case.precision == "bfloat16" and form != FAST
    if form != PROGRAM:  # which is always in evaluation mode
        model.eval()
    if case.precision == "bfloat16" and form == FAST:
        model = in_precision(model, case.precision)

    def once() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            model(images)

    return once


def exported(network: str, form: str) -> nn.Module:
    """A network from the file that `medley export` would write; another process writes it, to measure less memory."""
    path = temporary_folder() / {ONNX: "network.onnx", PROGRAM: "network.pt2"}[form]
    in_process(_export, network, path)
    return OnnxNetwork(path) if form == ONNX else torch.export.load(path).module()


def _export(network: str, path: Path) -> None:
    model = create_model(network)
    export.write(path, model, described(network, model))


def _step(case: Case, model: nn.Module) -> Callable[[], None]:
    """Forward, backward and AdamW, as in `medley.training`; bfloat16 as in bf16-mixed of Lightning Fabric."""
    images, targets = torch.rand(2, case.count, 1, case.side, case.side)
    size = case.count if case.what == "whole step" else 1
    if case.what == "lean step":
        cast(Trunk, model).recompute()
    optimizer = torch.optim.AdamW(model.parameters())
    model.train()

    def once() -> None:
        optimizer.zero_grad()
        for image, target in zip(images.split(size), targets.split(size), strict=True):
            with torch.autocast("cpu", torch.bfloat16, enabled=case.precision == "bfloat16"):
                restored = model(image)
            loss = (restored.float() - target).abs().mean()
            auxiliary = getattr(model, "auxiliary_loss", None)
            loss = loss if auxiliary is None else loss + auxiliary
            (loss * size / case.count).backward()
        optimizer.step()

    return once


def _volume(case: Case) -> Callable[[], None]:
    """`medley restore` of a CT phantom with random weights, from and to compressed NIfTI."""
    path = temporary_folder()
    model = create_model(case.network)
    weights.save(path / "random.safetensors", model, described(case.network, model))
    write_nifti(phantom(case.count, case.side), path / "scan.nii.gz", dtype="int16")
    command = restore_command(
        path / "scan.nii.gz", path / "restored.nii.gz", path / "random.safetensors", case.precision
    )

    def once() -> None:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"medley restore in {path} failed: {' '.join(done.stderr.split())}")

    return once


def restore_command(scan: Path, output: Path, model: str | Path, precision: str) -> list[str | Path]:
    """The command `medley restore` for a CT, with this Python."""
    command: list[str | Path] = [sys.executable, "-m", "medley.apps.cli", "restore", scan, "-o", output]
    return [*command, "--model", model, "--task", "ct-denoise", "--precision", precision, "--overwrite", "--quiet"]


def described(network: str, model: nn.Module) -> weights.Description:
    """The description of a network that was not trained."""
    return weights.Description(
        network, configuration(network)[0], model.config, ("ct-denoise",), {}, medley.__version__
    )


def temporary_folder() -> Path:
    """A folder that is removed when this process ends."""
    path = Path(mkdtemp())
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def process() -> Executor:
    """A new process that runs one function at a time."""
    return ProcessPoolExecutor(1, get_context("spawn"))


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function that is called in a separate process."""
    with process() as one:
        return one.submit(function, *arguments).result()


def phantom(slices: int, side: int) -> Volume:
    """A CT that compresses like real ones: air, soft tissue, bone, noise of 20 HU. Slices are computed on demand."""
    row, column = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    radius = np.hypot(row * 1.4, column * 1.1)
    clean = np.where(radius < 0.9, 40.0, -1000.0) + np.where(abs(radius - 0.75) < 0.04, 800.0, 0.0)

    def noisy(number: int) -> np.ndarray:
        noise = np.random.default_rng(number).normal(0, 20, clean.shape)
        return (clean + noise).clip(-1024, 3071).round().astype(np.float32)

    data = Slices((slices, side, side), lambda: (noisy(k) for k in range(slices)))
    return Volume(data, np.diag([-0.7, -0.7, 1.5, 1.0])[:, [2, 1, 0, 3]], "CT", TASKS["ct-denoise"].unit)
