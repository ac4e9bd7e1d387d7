"""Two processes (gloo) are equal to one that has all samples."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from medley.errors import MedleyError
from medley.models import weights
from medley.training import run as running
from medley.training.collective import sum_gradients, summed
from medley.training.loop import train
from medley.training.processes import launched
from medley.training.recipe import make_recipe
from medley.training.run import Run

# A larger epsilon: AdamW divides by the gradient's own size, which magnifies rounding where a gradient is nearly zero.
COMMON = {
    "accelerator": "cpu", "steps": 4, "ema": 0.5, "checkpoint_every": 2,
    "optimizer": {"learning_rate": 1e-3, "epsilon": 1e-4, "weight_decay": 0.01, "gradient_clip": 1.0},
}  # fmt: skip
PATCHES = {"tasks": ["ct-denoise", "pet-denoise"], "patch": 32, "patches": 4, "validation": {"every": 2, "slices": 2}}
BLOCKS = {"dim": 8, "blocks": [1, 1, 1, 1], "refinement": 1}
TAT = {"model": "tat-tiny", "config": {**BLOCKS, "generator_width": 16}, **PATCHES}
CASES = {"config": {"width": 4, "widest": 8, "blocks": [1, 1]}, "batch": 4, "validate_every": 2}
RECIPES = {
    "tat": {**TAT, "balance": "tat"},
    "tat in parts": {**TAT, "balance": "uncertainty", "micro_batch": 1},
    "unih3": {**PATCHES, "model": "unih3-tiny", "config": {"dim": 8, "slots": 4}, "balance": "unih3",
              "sampling": "proportional"},
    "slab": {**PATCHES, "model": "slab", "loss": "scaled", "balance": {"name": "dwa", "period": 1}},
    "ctan": {**CASES, "model": "ctan-tiny", "balance": "uncertainty"},
    "ctan in parts": {**CASES, "model": "ctan-tiny", "balance": {"name": "dwa", "period": 1}, "micro_batch": 1},
    "hps, balanced": {**CASES, "model": "hps-tiny", "voxel_weights": "inverse", "class_weights": "inverse"},
}  # fmt: skip


def recipe(name, small_store, case_store, output, **keys):
    store = case_store if "batch" in RECIPES[name] else small_store
    named = {"name": name.replace(", ", "-").replace(" ", "-"), "store": str(store.path), "output": str(output)}
    return make_recipe({**COMMON, **RECIPES[name], **named, **keys}, name)


@pytest.fixture(scope="module")
def stores(tmp_path_factory, make_small_store, make_case_store):
    folder = tmp_path_factory.mktemp("stores")
    return make_small_store(folder), make_case_store(folder)


@pytest.fixture(scope="module")
def of_two(stores, tmp_path_factory):
    """{name: output folder} of all recipes, each trained by two processes that torchrun started."""
    folder = tmp_path_factory.mktemp("two")
    files = []
    for name in RECIPES:
        made = recipe(name, *stores, folder / name)
        files.append(folder / f"{made.name}.yaml")
        files[-1].write_text(made.model_dump_json(exclude_none=True))
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    each = Path(__file__).with_name("train_each.py")
    done = subprocess.run([*program, str(each), *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_are_equal_to_one(name, stores, of_two, tmp_path):
    """A pass of one process has as many samples as those of two together, for norms and Dice are of a pass."""
    passes = {"micro_batch": 2} if "micro_batch" in RECIPES[name] else {}
    one = recipe(name, *stores, tmp_path / "one", **passes)
    expected, _ = weights.load(train(one))
    found, description = weights.load(of_two / name / f"{one.name}.safetensors")
    assert description.training["steps"] == 4
    start = Run(one, Fabric(accelerator="cpu")).network.module.state_dict()
    moved = 0.0
    for key, tensor in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[key], tensor, rtol=1e-5, atol=1e-5)
        moved = max(moved, (tensor.float() - start[key].float()).abs().max().item())
    assert moved > 1e-3  # 100 times the tolerance
    assert (of_two / name / "validation.csv").exists()


@pytest.mark.slow
def test_devices_2_is_the_same_without_torchrun(stores, of_two, tmp_path):
    """And a run of one process can be resumed with two."""
    made = recipe("ctan", *stores, tmp_path / "ctan", steps=2)
    train(made)
    file = tmp_path / "recipe.yaml"
    file.write_text(made.model_dump_json(exclude_none=True))
    command = [sys.executable, "-m", "medley.apps.cli", "train", str(file), "--set", "devices=2"]
    done = subprocess.run([*command, "--set", "steps=3", "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stderr.count("weights -> ") == 1  # the second process is silent
    again = recipe("ctan", *stores, tmp_path / "one", steps=2)
    train(again)
    expected, _ = weights.load(train(again.model_copy(update={"steps": 3}), resume=True))
    found, _ = weights.load(tmp_path / "ctan" / "ctan.safetensors")
    for key, tensor in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[key], tensor, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["tat in parts", "ctan in parts"])
def test_gradients_are_exchanged_once_in_a_step(name, stores, tmp_path, monkeypatch):
    exchanged, passes = [], []
    made = Run(recipe(name, *stores, tmp_path), Fabric(accelerator="cpu"))
    monkeypatch.setattr(running, "sum_gradients", lambda parameters: exchanged.append(len(passes)))
    made.network.register_forward_hook(lambda *_: passes.append(1))
    made.advance(made.batch(0))
    assert exchanged == [4]


def test_one_process_exchanges_nothing():
    parameter = nn.Parameter(torch.ones(3))
    sum_gradients([parameter])
    assert parameter.grad is None
    assert summed(parameter) is parameter


def test_a_step_is_divided_among_the_processes(stores, tmp_path):
    objective = Run(recipe("tat", *stores, tmp_path), Fabric(accelerator="cpu")).objective
    whole, *halves = objective.batch(3), *(objective.batch(3, rank=rank, ranks=2) for rank in range(2))
    assert whole.tasks == ("ct-denoise",) * 2 + ("pet-denoise",) * 2
    for rank, half in enumerate(halves):
        assert torch.equal(half.input, whole.input[rank::2])
        assert half.tasks == ("ct-denoise", "pet-denoise")
    with pytest.raises(MedleyError, match="4 samples of a step cannot be divided evenly among 3 processes"):
        objective.batch(0, ranks=3)


def test_aggregation_is_refused_under_torchrun(stores, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(MedleyError, match="aggregation mgda works on one device, not on 2"):
        launched(recipe("ctan", *stores, tmp_path, aggregation="mgda"))
