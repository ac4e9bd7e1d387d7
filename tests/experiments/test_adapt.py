import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from medley.data.layouts.openkbp import MASKS, REGION, records
from medley.data.record import INPUT
from medley.errors import MedleyError, MedleyNotice
from medley.experiments.adapt import AFTER, BEFORE, adapt, outcomes, save
from medley.experiments.adapt_card import card
from medley.experiments.adapt_records import Source
from medley.models import weights
from medley.models.zoo import create_model
from medley.scoring.rows import ScoreRow, read_scores

pytestmark = pytest.mark.filterwarnings("ignore::medley.errors.MedleyNotice")  # of the task with one subject
STEPS_40 = 40 * 0.05 / 60  # minutes of 40 steps


@pytest.fixture
def only_ct(department):
    return Source(department / "ct", table=table_of(department / "ct"))


def table_of(folder):
    table = folder.parent / "ct.csv"
    rows = [f"{one.name},{one.name.split('.')[0]},CT" for one in sorted(folder.iterdir())]
    table.write_text("\n".join(["file,subject,modality", *rows]) + "\n")
    return table


def tensors(path):
    return weights.load(path)[0].state_dict()


def test_a_network_that_learns_is_written_for_its_task_only(department, network, step_of_50_ms, tmp_path):
    with pytest.warns(MedleyNotice, match="pet-denoise has 1 to train on and 0 held back"):
        result = adapt(Source(department), tmp_path / "work", network, name="mine", minutes=STEPS_40)
    (outcome,) = result.outcomes
    assert (outcome.task, outcome.score, outcome.verdict) == ("ct-denoise", "psnr", "better")
    assert (outcome.subjects, outcome.records) == (2, 8)
    assert outcome.difference.value == pytest.approx(outcome.after - outcome.before)
    assert np.isnan(outcome.difference.low)
    assert result.recipe.steps == 40
    assert result.unchecked == ("mr-sr", "pet-denoise")
    save(result, tmp_path / "mine.safetensors")
    written = weights.describe(tmp_path / "mine.safetensors")
    assert (written.name, written.tasks) == ("mine", ("ct-denoise",))
    assert written.training["adapted_from"] == {"name": "start", "sha256": result.old.sha256}
    text = card(result, "mine")
    assert "**Yes, in ct-denoise.**" in text
    assert "Not trained and not checked, for lack of scans or subjects: mr-sr, pet-denoise." in text
    assert not any(f"person-{k}" in text for k in range(10))
    rows, _ = read_scores(tmp_path / "work" / "scores.csv")
    assert {row.method for row in rows} == {BEFORE, AFTER}


def test_the_records_are_those_of_the_scans_and_of_the_network(only_ct, network, step_of_50_ms, tmp_path):
    result = adapt(only_ct, tmp_path / "work", network, name="mine", minutes=STEPS_40 / 40)
    parameters = {one.id: one.degradation["parameters"] for one in result.store.records()}
    low, high = result.plan.degradations["ct-denoise"]["noise_index"]
    assert all(low <= one["noise_index"] <= high for one in parameters.values() if "noise_index" in one)
    assert len({one["dose"] for one in parameters.values()}) > 10
    for record in result.store.records("valid"):
        assert not np.array_equal(*(result.store.array(record, name)[...] for name in (INPUT, "image")))
    subjects = {split: {one.subject for one in result.store.records(split)} for split in ("train", "valid")}
    assert not subjects["train"] & subjects["valid"]


def test_a_network_that_gets_worse_is_not_written(only_ct, network, step_of_50_ms, ruinous, tmp_path):
    result = adapt(only_ct, tmp_path / "work", network, name="mine", minutes=STEPS_40)
    assert [one.verdict for one in result.outcomes] == ["worse"]
    assert "**No.**" in card(result, "mine")
    with pytest.raises(MedleyError, match="better in no task"):
        save(result, tmp_path / "mine.safetensors")
    assert not (tmp_path / "mine.safetensors").exists()


def test_an_interrupted_adaptation_ends_at_the_same_weights(only_ct, network, step_of_50_ms, tmp_path):
    def press(done, total, text):
        if text.startswith("training") and done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    about = {"name": "mine", "minutes": STEPS_40 / 5}
    whole = adapt(only_ct, tmp_path / "whole", network, **about)
    with pytest.raises(KeyboardInterrupt):
        adapt(only_ct, tmp_path / "work", network, **about, progress=press)
    texts = []
    resumed = adapt(only_ct, tmp_path / "work", network, **about, progress=lambda *said: texts.append(said))
    assert min(done for done, _, text in texts if text.startswith("training")) == 4
    assert not any("noise" in text for _, _, text in texts)  # it was measured the first time
    first, second = (tensors(one.recipe.output / "mine.safetensors") for one in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert resumed.outcomes == whole.outcomes
    assert [one.checksums for one in resumed.store.records()] == [one.checksums for one in whole.store.records()]


def test_the_time_of_a_step_is_measured(only_ct, network, tmp_path):
    result = adapt(only_ct, tmp_path / "work", network, name="mine", minutes=0.01)
    assert result.seconds > 0
    assert result.recipe.steps == max(1, round(0.6 / result.seconds))
    assert adapt(only_ct, tmp_path / "work", network, name="mine", minutes=0.01).seconds == result.seconds


def test_a_store_can_be_given(store, network, step_of_50_ms, tmp_path):
    result = adapt(Source(store.path), tmp_path / "work", network, name="mine", minutes=STEPS_40 / 40)
    assert [one.task for one in result.outcomes] == ["mr-sr", "ct-denoise", "pet-denoise"]
    assert result.plan is None
    assert result.unchecked == ()
    assert "## The scans and the simulation" not in card(result, "mine")


def save_plan(path, seed, n=32):
    """A compact OpenKBP file: a target in the body, and a dose that falls off from it."""
    place = np.stack(np.mgrid[:n, :n, :n]) - np.random.default_rng(seed).uniform(12, 20, 3)[:, None, None, None]
    distance = np.hypot(place[0], np.hypot(place[1], place[2]))
    bits = np.where(distance < 5, 1 << MASKS.index("PTV70"), 0) | (distance < 14) * (1 << MASKS.index(REGION))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        ct=np.where(distance < 16, 1000, 0).astype(np.int16),
        dose=np.where(distance < 14, 70 * np.exp(-((distance / 9) ** 2)), 0).astype(np.float32),
        masks=bits.astype(np.uint16),
        voxel_dimensions=np.array([4.0, 4.0, 4.0], np.float32),
    )


def test_a_dose_network_is_adapted_to_plans(step_of_50_ms, tmp_path):
    for k in range(5):
        save_plan(tmp_path / "plans" / f"pt_{k}.npz", k)
    task, _ = records(tmp_path / "plans")
    torch.manual_seed(0)
    small = {"width": 4, "widest": 8, "blocks": (1, 1, 1, 1)}
    model = create_model("stl-tiny", **small, targets={"dose": ("pixel", 1)}, dimension=3, channels=11)
    training = {"recipe": {"batch": 2, "crop": [16, 16, 16]}}
    inputs = ("image", "segmentation")
    stated = task.model_dump(mode="json")
    about = weights.Description("dose", "stl", model.config, ("dose",), training, "0", stated, inputs)
    start = tmp_path / "dose.safetensors"
    weights.save(start, model, about)
    result = adapt(Source(tmp_path / "plans"), tmp_path / "work", start, name="ours", minutes=STEPS_40 / 4)
    (outcome,) = result.outcomes
    assert (outcome.task, outcome.score) == ("dose", "dose_score")
    assert (outcome.verdict == "better") == (outcome.difference.value < 0)
    assert "Simulated degradations" not in card(result, "ours")


def rows_of(gains, score="psnr", task="ct-denoise", target="image"):
    """Rows of one record for each subject, whose score changes by a gain."""
    column = {"psnr": "psnr", "mae": "mae"}[score]
    return [
        ScoreRow(method, task, target, f"s{k}", f"r{k}", values={column: 30.0 + k + (gain if method == AFTER else 0)})
        for method in (BEFORE, AFTER)
        for k, gain in enumerate(gains)
    ]


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([0.1, 0.5], "better"),
        ([0.9, -0.01], ""),
        ([-0.1, -0.2], "worse"),
        ([0.5] * 9 + [-0.1], "better"),  # enough subjects for an interval
        ([1, -1] * 5, ""),
        ([-0.5] * 9 + [0.1], "worse"),
    ],
)
def test_a_task_is_better_only_if_that_is_clear(gains, expected):
    (up,) = outcomes(rows_of(gains))
    assert up.verdict == expected
    assert np.isfinite(up.difference.low) == (len(gains) >= 6)
    (down,) = outcomes(rows_of([-one for one in gains], score="mae", task="plans", target="dose"))
    assert down.verdict == expected  # a lower dose score is better


def test_a_measure_that_one_network_lacks_does_not_matter():
    rows = rows_of([0.1, 0.5])
    rows[0] = replace(rows[0], values={**rows[0].values, "noise": 3.0})
    assert [one.verdict for one in outcomes(rows)] == ["better"]


def test_an_exported_network_is_refused(tmp_path):
    with pytest.raises(MedleyError, match="cannot be trained; give its weights"):
        adapt(Source(tmp_path), tmp_path / "work", tmp_path / "a.onnx", name="mine")
    assert not (tmp_path / "work").exists()
