"""A small department: good scans, and a small network to adapt to them."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medley.experiments import adapt as adapting
from medley.models import weights
from medley.models.zoo import create_model

TINY = {"dim": 4, "blocks": (1, 1, 1, 1), "decoder": (1, 1, 1), "reach": 1}


def save_scan(path: Path, seed: int, low: float, high: float, mm: float = 1.5) -> None:
    """An ellipse with three discs in it, 4 slices of 40 x 36 pixels, with a little noise."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:40, :36]
    picture = np.where(((row - 20) / 17) ** 2 + ((column - 18) / 15) ** 2 < 1, 0.5, 0.0)
    for grey in (0.6, 0.8, 0.4):
        centre = rng.uniform(0.35, 0.65, 2) * (40, 36)
        picture[np.hypot(row - centre[0], column - centre[1]) < rng.uniform(3, 6)] = grey
    stack = low + (high - low) * (picture[None] + rng.normal(0, 0.003, (4, 40, 36)))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(stack.transpose(2, 1, 0).astype(np.float32), np.diag([mm, mm, 3.0, 1.0])), path)


@pytest.fixture
def department(tmp_path):
    """Six CT scans and one PET scan, each of another subject."""
    for k in range(6):
        save_scan(tmp_path / "scans" / "ct" / f"person-{k}.nii.gz", k, -1000, 1000)
    save_scan(tmp_path / "scans" / "pet" / "person-9.nii.gz", 9, 0, 10)
    return tmp_path / "scans"


@pytest.fixture
def network(tmp_path):
    """Weights of a small network for CT, PET and MR that has learnt nothing: its output is its input, and a pattern."""
    torch.manual_seed(0)
    model = create_model("slab", **TINY)
    with torch.no_grad():
        model.output.weight.normal_(0, 0.5)
    degradations = {"ct-denoise": {"name": "ct-low-dose", "dose": [0.05, 0.5], "clean": 0.1}}
    recipe = {"patch": 32, "patches": 4, "loss": "scaled", "optimiser": {"rate": 1e-3}}
    training = {"recipe": recipe, "store": {"degradations": degradations}}
    tasks = ("mr-sr", "ct-denoise", "pet-denoise")
    path = tmp_path / "start.safetensors"
    weights.save(path, model, weights.Description("start", "slab", model.config, tasks, training, "0"))
    return path


@pytest.fixture
def step_of_50_ms(monkeypatch):
    """The time of a step, as if measured: the number of steps is then known."""
    monkeypatch.setattr(adapting, "step_seconds", lambda recipes, work: dict.fromkeys(recipes, 0.05))


@pytest.fixture
def ruinous(monkeypatch):
    """A learning rate that ruins the weights."""
    monkeypatch.setitem(adapting._OPTIMIZER, "learning_rate", 0.3)
