import os
import signal
from itertools import pairwise

import pytest
import torch
from torch import nn

from medley.errors import MedleyError
from medley.models import weights
from medley.training import loop
from medley.training.checkpoint import load_checkpoint
from medley.training.loop import learning_rate, train
from medley.training.recipe import Balance, Optimiser, RestorationRecipe
from medley.training.restoration import Restoration

TINY = {
    "tat-tiny": {"dim": 8, "blocks": (1, 1, 1, 1), "refinement": 1, "generator_width": 16},
    "amir-tiny": {"dim": 8, "blocks": (1, 1, 1, 1), "refinement": 1},
}


@pytest.fixture
def recipe(small_store, tmp_path):
    return RestorationRecipe(
        name="small",
        model="tat-tiny",
        config=TINY["tat-tiny"],
        store=small_store.path,
        output=tmp_path / "run",
        tasks=("ct-denoise", "pet-denoise"),
        steps=4,
        patch=32,
        patches=4,
        identity_start=True,
        balance="tat",
        accelerator="cpu",
        optimiser=Optimiser(rate=1e-3, warmup=2, clip=1.0),
        validation={"every": 2, "slices": 2},
        checkpoint_every=2,
    )


@pytest.fixture
def amir_recipe(recipe):
    return recipe.model_copy(update={"model": "amir-tiny", "config": TINY["amir-tiny"], "balance": Balance()})


def tensors(path):
    return weights.load(path)[0].state_dict()


@pytest.fixture
def pcgrad_recipe(amir_recipe):
    """AMIR's routers add a loss of their own, which is one more gradient to settle with."""
    return amir_recipe.model_copy(update={"balance": Balance(name="dwa", period=1), "aggregation": "pcgrad"})


@pytest.mark.parametrize("which", ["recipe", "amir_recipe", "pcgrad_recipe"])
def test_a_resumed_run_ends_at_the_same_weights_to_the_bit(which, request, tmp_path):
    recipe = request.getfixturevalue(which)
    whole = tensors(train(recipe.model_copy(update={"output": tmp_path / "whole"})))
    stop_after(recipe, 2)
    assert load_checkpoint(recipe.output / "last.ckpt", recipe.model_dump(mode="json"))["step"] == 2
    resumed = tensors(train(recipe, resume=True))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_recomputing_gives_the_same_weights(recipe, tmp_path):
    usual = tensors(train(recipe))
    lean = tensors(train(recipe.model_copy(update={"output": tmp_path / "lean", "recompute": True})))
    for name, expected in usual.items():
        torch.testing.assert_close(lean[name], expected, rtol=1e-4, atol=1e-6)


def stop_after(recipe, steps):
    """Press Ctrl-C in that step."""

    def press(progress):
        if progress.step == steps:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(recipe, progress=press)


def test_the_loss_falls_and_validation_is_told(recipe):
    told = []
    long = recipe.model_copy(update={"steps": 40, "patch": 32, "patches": 4, "balance": Balance()})
    train(long, progress=told.append)
    first, last = (sum(p.loss for p in part) for part in (told[:10], told[-10:]))
    assert last < 0.9 * first
    assert [p.step for p in told] == list(range(1, 41))
    assert set(told[-1].scores) == {"ct-denoise psnr", "pet-denoise psnr"}


def test_identity_start_makes_the_network_the_identity(recipe, small_store):
    run = loop.Run(recipe, loop.Fabric(accelerator="cpu"))
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(run.averaged.module.eval()(x), x)


def test_the_tasks_losses_sum_to_the_mean_over_all_samples(amir_recipe):
    run = loop.Run(amir_recipe.model_copy(update={"model": "tat-tiny", "config": TINY["tat-tiny"]}), loop.Fabric())
    batch = run.lesson.batch(0)
    run.network.train()
    losses = run.lesson.losses(run.network, batch)
    assert set(losses) == {"ct-denoise", "pet-denoise"}
    expected = (run.network(batch.input) - batch.targets["image"]).abs().mean()
    torch.testing.assert_close(sum(losses.values()), expected)


def test_the_weights_file_tells_how_it_was_made(recipe):
    _, description = weights.load(train(recipe))
    assert description.name == "small"
    assert description.tasks == recipe.tasks
    assert description.training["steps"] == 4
    assert description.training["train_subjects"] == {"ct-denoise": 1, "pet-denoise": 1}
    assert set(description.training["validation_psnr"]) == set(recipe.tasks)


def test_parts_of_a_batch_give_the_gradient_of_the_whole(recipe):
    gradients = []
    for micro in (None, 1):
        run = loop.Run(recipe.model_copy(update={"micro_batch": micro}), loop.Fabric(accelerator="cpu"))
        batch = run.lesson.batch(0)
        torch.manual_seed(1)
        for parameter in run.network.parameters():
            nn.init.normal_(parameter, std=0.1)
        run.advance(batch)
        gradients.append(torch.cat([p.grad.ravel() for p in run.parameters if p.grad is not None]))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(recipe, monkeypatch):
    stop_after(recipe, 2)
    before = (recipe.output / "last.ckpt").read_bytes()
    monkeypatch.setattr(
        Restoration, "losses", lambda self, network, batch: {"image": network(batch.input).sum() * float("nan")}
    )
    with pytest.raises(MedleyError, match="loss at step 2 is nan"):
        train(recipe, resume=True)
    assert (recipe.output / "last.ckpt").read_bytes() == before


def test_a_run_is_never_written_over_and_another_recipe_never_resumed(recipe):
    stop_after(recipe, 2)
    with pytest.raises(MedleyError, match="holds a run"):
        train(recipe)
    with pytest.raises(MedleyError, match="patches differ"):
        train(recipe.model_copy(update={"patches": 2}), resume=True)
    (recipe.output / "last.ckpt").write_bytes(b"half")
    with pytest.raises(MedleyError, match="cannot be read"):
        train(recipe, resume=True)


def test_resuming_nothing_is_said(recipe):
    with pytest.raises(MedleyError, match="no checkpoint"):
        train(recipe, resume=True)


def test_learning_rate_rises_linearly_then_follows_half_a_cosine():
    of = Optimiser(rate=1.0, final_rate=0.1, warmup=10)
    rates = [learning_rate(step, 110, of) for step in range(110)]
    assert rates[:10] == pytest.approx([0.1 * (k + 1) for k in range(10)])
    assert rates[60] == pytest.approx(0.55)
    assert rates[109] == pytest.approx(0.1, abs=1e-3)
    assert all(a >= b for a, b in pairwise(rates[10:]))
