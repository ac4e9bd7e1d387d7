"""One task is fine-tuned from the weights of a network for several."""

import pytest
import torch
from lightning_fabric import Fabric

from medley.errors import MedleyError
from medley.models import weights
from medley.training.loop import train
from medley.training.recipe import make_recipe
from medley.training.run import Run

TINY = {"dim": 8, "blocks": [1, 1, 1, 1], "refinement": 1}
COMMON = {"name": "all", "accelerator": "cpu", "steps": 3, "ema": 0.5, "optimizer": {"learning_rate": 1e-3}}


def restorer(store, output, **keys):
    of_restorers = {
        "model": "amir-tiny",
        "config": TINY,
        "patch": 32,
        "patches": 4,
        "tasks": ["ct-denoise", "pet-denoise"],
    }
    return make_recipe({**COMMON, **of_restorers, "store": str(store.path), "output": str(output), **keys}, "a recipe")


def predictor(store, output, **keys):
    of_predictors = {"model": "hps-tiny", "config": {"width": 4, "widest": 8, "blocks": [1, 1]}, "batch": 4}
    return make_recipe({**COMMON, **of_predictors, "store": str(store.path), "output": str(output), **keys}, "a recipe")


def test_a_restorer_of_several_tasks_is_fine_tuned_for_one(small_store, tmp_path):
    first = train(restorer(small_store, tmp_path / "all"))
    keys = {"start": str(first), "tasks": ["ct-denoise"], "name": "ct"}
    recipe = restorer(small_store, tmp_path / "ct", **keys)
    begun = Run(recipe, Fabric(accelerator="cpu"))
    before = weights.load(first)[0].state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in begun.network.module.state_dict().items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in begun.averaged.module.state_dict().items())
    assert {task for step in range(5) for task in begun.batch(step).tasks} == {"ct-denoise"}
    network, description = weights.load(train(recipe))
    assert description.tasks == ("ct-denoise",)
    assert set(description.training["validation"]) == {"ct-denoise psnr"}
    moved = [name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])]
    assert len(moved) > len(before) / 2


@pytest.mark.parametrize("model", ["hps-tiny", "mtan-tiny"])
def test_a_multitask_network_is_fine_tuned_for_one_target(case_store, tmp_path, model):
    first = train(predictor(case_store, tmp_path / "all", model=model))
    before = weights.load(first)[0].state_dict()
    keys = {"start": str(first), "targets": ["segmentation"], "model": model}
    network = Run(predictor(case_store, tmp_path / "one", **keys), Fabric(accelerator="cpu")).network.module
    assert network.state_dict().keys() < before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_what_does_not_fit_is_refused(case_store, small_store, tmp_path):
    first = train(predictor(case_store, tmp_path / "all", model="ctan-tiny"))
    start = {"start": str(first), "model": "ctan-tiny"}
    with pytest.raises(MedleyError, match="differs from the network of the recipe"):
        train(predictor(case_store, tmp_path / "one", **start, targets=["segmentation"]))
    with pytest.raises(MedleyError, match="differs from the network of the recipe"):
        train(restorer(small_store, tmp_path / "other", start=str(first)))
