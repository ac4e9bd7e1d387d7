import os
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from medley.errors import MedleyError, MedleyNotice
from medley.models import weights
from medley.training import loop
from medley.training.checkpoint import Checkpoints
from medley.training.loop import train
from medley.training.optimization import learning_rate, split_by_weight_decay
from medley.training.recipe import RestorationRecipe
from medley.training.restoration import RestorationObjective
from medley.training.run import Run
from medley.training.settings import Balance, Optimizer

TINY = {
    "tat-tiny": {"dim": 8, "blocks": (1, 1, 1, 1), "refinement": 1, "generator_width": 16},
    "amir-tiny": {"dim": 8, "blocks": (1, 1, 1, 1), "refinement": 1},
    "unih3-tiny": {"dim": 8, "slots": 4},
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
        optimizer=Optimizer(learning_rate=1e-3, warmup_steps=2, gradient_clip=1.0, weight_decay=0.01),
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
    """AMIR's routers add an auxiliary loss, whose gradient is not aggregated."""
    return amir_recipe.model_copy(update={"balance": Balance(name="dwa", period=1), "aggregation": "pcgrad"})


@pytest.fixture
def muon_recipe(recipe):
    return recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"name": "muon"})})


@pytest.fixture
def unih3_recipe(recipe):
    """With the memory, its balancing, and Muon as in the program."""
    optimizer = recipe.optimizer.model_copy(update={"name": "muon", "muon_learning_rate": 5e-3})
    keys = {"model": "unih3-tiny", "config": TINY["unih3-tiny"], "balance": Balance(name="unih3")}
    return recipe.model_copy(update={**keys, "optimizer": optimizer})


@pytest.mark.parametrize("which", ["recipe", "amir_recipe", "pcgrad_recipe", "muon_recipe", "unih3_recipe"])
def test_a_resumed_run_ends_at_bit_identical_weights(which, request, tmp_path):
    recipe = request.getfixturevalue(which)
    whole = tensors(train(recipe.model_copy(update={"output": tmp_path / "whole"})))
    stop_after(recipe, 2)
    assert Checkpoints(recipe.output).load()["step"] == 2
    resumed = tensors(train(recipe, resume=True))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_recomputing_gives_the_same_weights(recipe, tmp_path):
    usual = tensors(train(recipe))
    lean = tensors(train(recipe.model_copy(update={"output": tmp_path / "lean", "recompute": True})))
    for name, expected in usual.items():
        torch.testing.assert_close(lean[name], expected, rtol=1e-4, atol=1e-6)


def stop_after(recipe, steps, number=signal.SIGINT):
    """Send a signal, by default Ctrl-C, in that step."""

    def press(progress):
        if progress.step == steps:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        train(recipe, progress=press)


def test_the_loss_falls_and_progress_has_the_scores(recipe):
    told = []
    long = recipe.model_copy(update={"steps": 40, "patch": 32, "patches": 4, "balance": Balance()})
    train(long, progress=told.append)
    first, last = (sum(p.loss for p in part) for part in (told[:10], told[-10:]))
    assert last < 0.9 * first
    assert [p.step for p in told] == list(range(1, 41))
    assert set(told[-1].scores) == {"ct-denoise psnr", "pet-denoise psnr"}


def test_identity_start_makes_the_network_the_identity(recipe, small_store):
    run = Run(recipe, Fabric(accelerator="cpu"))
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(run.averaged.module.eval()(x), x)


def test_the_tasks_losses_sum_to_the_mean_over_all_samples(amir_recipe):
    run = Run(amir_recipe.model_copy(update={"model": "tat-tiny", "config": TINY["tat-tiny"]}), Fabric())
    batch = run.objective.batch(0)
    run.network.train()
    losses = run.objective.losses(run.network, batch)
    assert set(losses) == {"ct-denoise", "pet-denoise"}
    expected = (run.network(batch.input) - batch.targets["image"]).abs().mean()
    torch.testing.assert_close(sum(losses.values()), expected)


def test_the_weights_file_describes_the_training(recipe):
    _, description = weights.load(train(recipe))
    assert description.name == "small"
    assert description.tasks == recipe.tasks
    assert description.training["steps"] == 4
    assert description.training["train_subjects"] == {"ct-denoise": 1, "pet-denoise": 1}
    assert set(description.training["validation"]) == {f"{task} psnr" for task in recipe.tasks}


def test_parts_of_a_batch_give_the_gradient_of_the_whole(recipe):
    gradients = []
    for micro in (None, 1):
        run = Run(recipe.model_copy(update={"micro_batch": micro}), Fabric(accelerator="cpu"))
        batch = run.objective.batch(0)
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
        RestorationObjective,
        "losses",
        lambda self, network, batch, counts: {"image": network(batch.input).sum() * float("nan")},
    )
    with pytest.raises(MedleyError, match="loss at step 2 is nan"):
        train(recipe, resume=True)
    assert (recipe.output / "last.ckpt").read_bytes() == before


def test_a_run_is_never_overwritten_and_another_recipe_never_resumed(recipe):
    stop_after(recipe, 2)
    with pytest.raises(MedleyError, match="already holds a run; continue it with --resume"):
        train(recipe)
    with pytest.raises(MedleyError, match=r"another recipe \(patches differ\)"):
        train(recipe.model_copy(update={"patches": 2}), resume=True)
    with pytest.raises(MedleyError, match="the checkpoint has 2 steps, more than the 1 of the recipe"):
        train(recipe.model_copy(update={"steps": 1}), resume=True)


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(recipe, tmp_path):
    recipe = recipe.model_copy(update={"checkpoint_every": 1})
    whole = tensors(train(recipe.model_copy(update={"output": tmp_path / "whole"})))
    stop_after(recipe, 3)
    last = recipe.output / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.warns(MedleyNotice, match="continues from previous.ckpt, step 2"):
        resumed = tensors(train(recipe, resume=True))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_resuming_with_more_steps_extends_a_finished_run(recipe):
    train(recipe)
    steps = []
    train(recipe.model_copy(update={"steps": 6}), resume=True, progress=lambda now: steps.append(now.step))
    assert steps == [5, 6]
    assert weights.describe(recipe.output / "small.safetensors").training["steps"] == 6


def test_the_same_store_by_another_path_is_no_other_recipe(recipe, monkeypatch):
    stop_after(recipe, 2)
    monkeypatch.chdir(recipe.store.parent)
    assert train(recipe.model_copy(update={"store": Path("./store"), "checkpoint_every": 3}), resume=True).exists()


@pytest.mark.parametrize("wrong", ["missing", "shape", "type"])
def test_a_checkpoint_that_does_not_fit_is_one_sentence(recipe, wrong):
    stop_after(recipe, 2)
    checkpoints = Checkpoints(recipe.output)
    state = checkpoints.load()
    name = next(iter(state["network"]))
    if wrong == "missing":
        del state["optimizer"]
    elif wrong == "shape":
        state["network"][name] = torch.zeros(3)
    else:
        state["scores"] = 5
    checkpoints.save(state)
    with pytest.raises(MedleyError, match=r"the checkpoint does not fit this version of medley \(.*\); start again"):
        train(recipe, resume=True)


def test_a_second_run_in_the_same_folder_is_refused(recipe):
    def second(progress):
        if progress.step == 1:
            with pytest.raises(MedleyError, match="is in use by another medley"):
                train(recipe)

    train(recipe, progress=second)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_its_step_and_closes_tensorboard(recipe, number, monkeypatch):
    closed = []
    monkeypatch.setattr(loop.SummaryWriter, "close", lambda self: closed.append(True))
    stop_after(recipe, 1, number)
    assert closed == [True]
    assert Checkpoints(recipe.output).load()["step"] == 1


def test_tensorboard_is_closed_after_an_error(recipe, monkeypatch):
    closed = []
    monkeypatch.setattr(loop.SummaryWriter, "close", lambda self: closed.append(True))
    with pytest.raises(ZeroDivisionError):
        train(recipe, progress=lambda now: 1 / 0)
    assert closed == [True]


def test_a_checkpoint_of_an_older_version_is_refused(recipe):
    run = Run(recipe, Fabric(accelerator="cpu"))
    state = run.state()
    state["helpers"] = state.pop("auxiliary")  # its former name
    with pytest.raises(MedleyError, match="made by an older medley; start again in another output folder"):
        run.load_state(state)


def test_training_runs_in_any_thread(recipe):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(train, recipe).result().exists()


@pytest.mark.parametrize("model", ["tat-tiny", "amir-tiny"])
def test_weight_decay_applies_to_weights_of_convolutions_and_linear_layers_only(recipe, model):
    run = Run(recipe.model_copy(update={"model": model, "config": TINY[model]}), Fabric(accelerator="cpu"))
    decayed, others = split_by_weight_decay(run.network, run.auxiliary)
    assert {id(one) for one in decayed} | {id(one) for one in others} == {id(one) for one in run.parameters}
    assert len(decayed) + len(others) == len(run.parameters)
    layers = [
        one.weight
        for one in run.network.modules()
        if isinstance(one, nn.Linear) or (hasattr(one, "weight") and one.weight is not None and one.weight.ndim == 4)
    ]
    assert {id(one) for one in decayed} == {id(one) for one in layers}
    decays = {id(one): group["weight_decay"] for group in run.optimizer.param_groups for one in group["params"]}
    assert {decays[id(one)] for one in decayed} == {0.01}
    assert {decays[id(one)] for one in others} == {0.0}
    assert all(decays[id(one)] == 0 for one in run.auxiliary.parameters())


def test_muon_steps_the_decayed_weights_and_adamw_the_others(muon_recipe):
    run = Run(muon_recipe, Fabric(accelerator="cpu"))
    decayed, others = split_by_weight_decay(run.network, run.auxiliary)
    of_muon = {id(one): group["muon"] for group in run.optimizer.param_groups for one in group["params"]}
    assert all(of_muon[id(one)] for one in decayed)
    assert not any(of_muon[id(one)] for one in others)
    assert len(of_muon) == len(run.parameters)


def test_muon_of_unih3_steps_large_kernels_with_a_learning_rate_of_their_own(unih3_recipe):
    run = Run(unih3_recipe, Fabric(accelerator="cpu"))
    run.advance(run.objective.batch(0))
    groups = run.optimizer.param_groups
    of_muon = {id(one) for group in groups if group["muon"] for one in group["params"]}
    modules = [*run.network.modules(), *run.auxiliary.modules()]
    convolutions = [one.weight for one in modules if isinstance(one, nn.Conv2d)]
    assert all(one.shape[2:] == (3, 3) for one in convolutions)
    assert of_muon == {id(one) for one in convolutions}
    assert sum(len(group["params"]) for group in groups) == len(run.parameters)
    assert {group["scaled"] for group in groups if group["muon"]} == {False}
    (fast,), (slow,) = ({group["lr"] for group in groups if group["muon"] == muon} for muon in (True, False))
    assert fast == pytest.approx(5 * slow)  # in the warm-up


def test_weight_decay_can_apply_to_all_parameters(unih3_recipe):
    optimizer = unih3_recipe.optimizer.model_copy(update={"decay_all": True})
    run = Run(unih3_recipe.model_copy(update={"optimizer": optimizer}), Fabric(accelerator="cpu"))
    assert {group["weight_decay"] for group in run.optimizer.param_groups} == {0.01}
    assert {id(one) for group in run.optimizer.param_groups for one in group["params"]} == set(map(id, run.parameters))


def test_the_memory_collects_targets_during_training(unih3_recipe):
    run = Run(unih3_recipe, Fabric(accelerator="cpu"))
    run.advance(run.objective.batch(0))
    for memory in run.network.module.memories:
        assert memory.filled.tolist() == [True, True, False, True]  # PET, CT, no MR, all
        assert memory.store[2].abs().max() == 0


def test_a_checkpoint_of_another_optimizer_is_refused(recipe, muon_recipe):
    stop_after(recipe, 2)
    with pytest.raises(MedleyError, match=r"another recipe \(optimizer differ\)"):
        train(muon_recipe, resume=True)


def test_resuming_without_a_checkpoint_is_refused(recipe):
    with pytest.raises(MedleyError, match="no checkpoint to resume from"):
        train(recipe, resume=True)
    assert not recipe.output.exists()


def test_learning_rate_rises_linearly_then_follows_half_a_cosine():
    optimizer = Optimizer(learning_rate=1.0, final_learning_rate=0.1, warmup_steps=10)
    rates = [learning_rate(step, 110, optimizer) for step in range(110)]
    assert rates[:10] == pytest.approx([0.1 * (k + 1) for k in range(10)])
    assert rates[60] == pytest.approx(0.55)
    assert rates[109] == pytest.approx(0.1, abs=1e-3)
    assert all(a >= b for a, b in pairwise(rates[10:]))
