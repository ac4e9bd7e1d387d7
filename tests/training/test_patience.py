import os
import signal

import pytest
import torch

from medley.errors import MedleyError
from medley.models import weights
from medley.training import run as running
from medley.training.checkpoint import Checkpoints
from medley.training.loop import train
from medley.training.patience import Patience, gain
from medley.training.recipe import PredictionRecipe
from medley.training.settings import Optimizer

PSNR = [20.0, 22.0, 21.0, 21.5, 23.0, 22.0, 22.5, 22.9]  # the best after 5 validations; the end after 3 worse ones


@pytest.fixture
def recipe(case_store, tmp_path):
    return PredictionRecipe(
        name="small",
        model="hps-tiny",
        config={"width": 4, "widest": 8, "blocks": (1, 1)},
        store=case_store.path,
        output=tmp_path / "run",
        steps=20,
        batch=2,
        accelerator="cpu",
        optimizer=Optimizer(learning_rate=1e-2),
        ema=0.5,
        validate_every=1,
        checkpoint_every=1,
        patience=3,
    )


@pytest.fixture
def scores(monkeypatch):
    """The scores of validation k are PSNR[k]; it returns the averaged weights of every validation."""
    seen = []
    validate = running.Run.validate

    def made(run):
        rows = validate(run)
        seen.append({name: tensor.clone() for name, tensor in run.averaged.module.state_dict().items()})
        return rows

    monkeypatch.setattr(running.Run, "validate", made)
    monkeypatch.setattr(running, "main_scores", lambda rows: {"ct-denoise psnr": PSNR[len(seen)]})
    return seen


def test_a_run_ends_without_improvement_and_saves_the_best_average(recipe, scores):
    told = []
    saved, description = weights.load(train(recipe, progress=told.append))
    assert told[-1].step == 8
    assert description.training["steps"] == 8
    assert description.training["best_step"] == 5
    assert description.training["validation"] == {"ct-denoise psnr": 23.0}
    assert all(torch.equal(tensor, scores[4][name]) for name, tensor in saved.state_dict().items())
    assert any(not torch.equal(scores[4][name], scores[7][name]) for name in scores[4])


def test_without_patience_a_run_takes_all_steps_and_saves_the_last(recipe, scores):
    saved, description = weights.load(train(recipe.model_copy(update={"patience": None, "steps": 7})))
    assert "best_step" not in description.training
    assert all(torch.equal(tensor, scores[6][name]) for name, tensor in saved.state_dict().items())


@pytest.mark.parametrize("stop", [4, 6, 8])
def test_a_resumed_run_ends_at_the_same_step_with_the_same_weights(recipe, scores, tmp_path, stop):
    """Interrupted before the best, after it, and when the run has just ended."""
    whole, _ = weights.load(train(recipe.model_copy(update={"output": tmp_path / "whole"})))
    scores.clear()

    def press(progress):
        if progress.step == stop:
            os.kill(os.getpid(), signal.SIGINT)

    if stop < 8:
        with pytest.raises(KeyboardInterrupt):
            train(recipe, progress=press)
    else:
        train(recipe)
    path = train(recipe, resume=True)
    resumed, description = weights.load(path)
    assert len(scores) == 8
    assert description.training["best_step"] == 5
    assert all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in resumed.state_dict().items())
    assert Checkpoints(recipe.output).load()["patience"]["waited"] == 3


def test_patience_without_validation_records_is_refused(recipe, case_store):
    manifest = case_store.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"split": "valid"', '"split": "test"'))
    with pytest.raises(MedleyError, match="patience needs validation records"):
        train(recipe)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"a psnr": 22.0, "b dose_score": 4.0}, (2 / 22 + 0) / 2),
        ({"a psnr": 20.0, "b dose_score": 2.0}, 0.5 / 2),  # a lower dose score is better
        ({"a psnr": 20.0, "b dose_score": 8.0}, -0.5 / 2),
        ({"a psnr": 20.0, "b dose_score": float("nan")}, 0),
        ({"a psnr": 25.0}, 0.2),
        ({}, 0),
    ],
)
def test_the_gain_is_the_mean_relative_change(scores, expected):
    assert gain(scores, {"a psnr": 20.0, "b dose_score": 4.0}) == pytest.approx(expected)


def test_a_score_of_zero_can_be_improved():
    assert gain({"a dice": 0.5}, {"a dice": 0.0}) == pytest.approx(1)
    assert gain({"a dice": 0.0}, {"a dice": 0.0}) == 0


def test_equal_scores_are_no_improvement_and_later_changes_of_the_weights_are_not_kept():
    patience, tensor = Patience(2), torch.ones(2)
    patience.add(1, {"a psnr": 20.0}, {"weight": tensor})
    tensor.zero_()
    for step in (2, 3):
        assert not patience.ended
        patience.add(step, {"a psnr": 20.0}, {"weight": tensor})
    assert patience.ended
    assert patience.best["step"] == 1
    assert torch.equal(patience.best["weights"]["weight"], torch.ones(2))
