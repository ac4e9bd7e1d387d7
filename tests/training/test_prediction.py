import os
import shutil
import signal

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from medley.data.readers import RecordReader
from medley.errors import MedleyError
from medley.models import weights
from medley.scoring.scorers import PredictionScorer, drawn_masks, predict_record
from medley.training.loop import train
from medley.training.prediction import PredictionObjective
from medley.training.recipe import PredictionRecipe
from medley.training.run import Run
from medley.training.settings import Balance, Optimizer

SMALL = {"width": 4, "widest": 8, "blocks": (1, 1)}


@pytest.fixture
def recipe(case_store, tmp_path):
    return PredictionRecipe(
        name="small",
        model="ctan-tiny",
        config=SMALL,
        store=case_store.path,
        output=tmp_path / "run",
        steps=4,
        batch=4,
        accelerator="cpu",
        optimizer=Optimizer(learning_rate=1e-2),
        ema=0.5,
        validate_every=4,
        checkpoint_every=2,
    )


def changed(recipe, **keys):
    return PredictionRecipe.model_validate({**recipe.model_dump(), **keys})


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"balance": "uncertainty"},
        {"balance": {"name": "dwa", "period": 1}},
        {"aggregation": "pcgrad"},
        {"aggregation": "imtl-g", "precision": "bf16-mixed"},
        {"balance": {"name": "fixed", "weights": {"dose": 3}}, "aggregation": "mgda"},
    ],
    ids=["plain", "uncertainty", "dwa", "pcgrad", "imtl-g in bfloat16", "fixed and mgda"],
)
def test_a_resumed_run_ends_at_the_same_weights_to_the_bit(recipe, keys, tmp_path):
    recipe = changed(recipe, **keys)
    whole = weights.load(train(changed(recipe, output=tmp_path / "whole")))[0].state_dict()

    def press(progress):
        if progress.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(recipe, progress=press)
    resumed = weights.load(train(recipe, resume=True))[0].state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_training_lowers_the_loss_and_describes_the_weights(recipe, case_store):
    told = []
    path = train(changed(recipe, steps=60, validate_every=30, voxel_weights="inverse"), progress=told.append)
    first, last = (np.mean([p.loss for p in part]) for part in (told[:10], told[-10:]))
    assert last < 0.6 * first
    assert set(told[-1].scores) == {"dose dose_score", "segmentation dice", "diagnosis auroc"}
    assert told[-1].scores["segmentation dice"] > 0.6
    _, description = weights.load(path)
    assert description.tasks == ("dose", "segmentation", "diagnosis")
    assert description.inputs == ("image",)
    assert description.task == case_store.prediction_task().model_dump(mode="json")
    assert description.training["train_subjects"] == 8


def test_a_missing_target_gives_no_gradient_to_its_decoder(recipe, case_store):
    objective = PredictionObjective(recipe, case_store)
    network = objective.create_network().train()
    reader = RecordReader(case_store, objective.tasks)
    first = case_store.records("train")[0]  # without dose and diagnosis
    objective._sampler.records = [first]
    losses = objective.losses(network, objective.batch(0))
    assert list(losses) == ["segmentation"]
    losses["segmentation"].backward()
    assert all(p.grad is None for p in network.decoders["dose"].parameters())
    assert any(p.grad is not None for p in network.decoders["segmentation"].parameters())
    rows = PredictionScorer("small", network.eval(), reader).score(case_store, first)
    assert [row.target for row in rows] == ["segmentation"]


def test_a_step_without_any_label_moves_nothing_but_by_decay(recipe, case_store):
    run = Run(changed(recipe, targets=("diagnosis",)), Fabric(accelerator="cpu"))
    batch = run.objective.batch(0)
    batch.counts["diagnosis"][:] = False
    before = [p.detach().clone() for p in run.network.parameters()]
    assert run.advance(batch) == 0
    assert all(torch.equal(a, b) for a, b in zip(before, run.network.parameters(), strict=True))


def test_outside_its_region_a_map_can_be_trained_as_stored(recipe, case_store):
    """Right in the region and wrong outside costs something then; a record without map still nothing."""
    losses = []
    for beyond in (False, True):
        objective = PredictionObjective(changed(recipe, beyond_region=beyond, targets=("dose",)), case_store)
        batch = objective.batch(0)
        truth, region = batch.targets["dose"], batch.counts["dose"]
        has_map = region.flatten(1).any(1)
        answer = torch.where(region, truth, truth + 1)
        losses.append(objective.losses(lambda image, answer=answer: {"dose": answer}, batch)["dose"].item())
        outside = (~region[has_map]).float().mean().item()
    assert losses == pytest.approx([0, outside])


def test_rare_classes_count_as_much_as_they_are_rare(recipe, case_store):
    objective = PredictionObjective(changed(recipe, class_weights="inverse"), case_store)
    labels = [record.labels.get("diagnosis") for record in case_store.records("train")]
    expected = [7 / (2 * labels.count(name)) for name in ("one", "two")]
    assert objective._class_weights["diagnosis"].tolist() == pytest.approx(expected)


def test_a_run_can_start_from_the_weights_of_another(recipe, tmp_path):
    first = train(recipe)
    again = changed(recipe, start=first, output=tmp_path / "again")
    begun = Run(again, Fabric(accelerator="cpu")).network.state_dict()
    assert all(torch.equal(tensor, begun[name]) for name, tensor in weights.load(first)[0].state_dict().items())
    with pytest.raises(MedleyError, match=r"small\.safetensors holds small, which differs from the network"):
        train(changed(again, config={**SMALL, "width": 8}))


def test_masks_can_be_inputs(recipe):
    _, description = weights.load(train(changed(recipe, targets=("dose",), inputs=("image", "segmentation", "region"))))
    assert description.config["channels"] == 4
    assert description.inputs == ("image", "segmentation", "region")


def test_decoded_outputs_are_physical(recipe, case_store):
    objective = PredictionObjective(recipe, case_store)
    network = objective.create_network().eval()
    reader = RecordReader(case_store, objective.tasks)
    record = case_store.records("valid")[1]
    decoded = predict_record(network, reader, record)
    image = torch.from_numpy(case_store.array(record, "input")[...] / 200).float().clip(0, 1)
    outputs = network(image[None])
    region = case_store.array(record, "region")[0]
    np.testing.assert_allclose(
        decoded["dose"], 10 * outputs["dose"][0, 0].detach().numpy() * region, rtol=1e-5, atol=1e-6
    )
    assert decoded["diagnosis"].sum() == pytest.approx(1, abs=1e-6)
    assert ((decoded["segmentation"] >= 0) & (decoded["segmentation"] <= 1)).all()
    rows = PredictionScorer("small", network, reader).score(case_store, record)
    dose = next(row.values for row in rows if row.target == "dose")
    assert dose["dvh entries"] == 2 * len(drawn_masks(case_store, record))  # of an organ D_0.1cc and mean


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"targets": ("severity",)}, "no target 'severity'"),
        ({"inputs": ("image", "organs")}, "no input 'organs'"),
        ({"balance": Balance(name="fixed", weights={"severity": 2.0})}, "names severity"),
        ({"backbone": "nowhere.pth"}, "nowhere.pth"),
        ({"inputs": ("image", "segmentation")}, "segmentation is an input and a target"),
    ],
)
def test_recipes_that_cannot_be_trained_are_refused(recipe, keys, what):
    with pytest.raises(MedleyError, match=what):
        train(changed(recipe, **keys))


def cut(store, folder, change):
    """The same store with other records: `change` returns a changed record, or None to leave it out."""
    shutil.copytree(store.path, folder)
    records = [one for record in store.records() if (one := change(record))]
    (folder / "manifest.json").write_text(store.manifest.model_copy(update={"records": records}).model_dump_json())
    return folder


def test_without_validation_cases_a_run_ends_without_scores(recipe, case_store, tmp_path):
    folder = cut(case_store, tmp_path / "cut", lambda record: record if record.split != "valid" else None)
    _, description = weights.load(train(changed(recipe, store=folder)))
    assert description.training["validation"] == {}


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"checksums": {"input": ""}}, "no training record has dose, so dose cannot be trained"),
        ({"drawn": {"segmentation": ("left",)}}, "no training record has right, so segmentation cannot"),
        ({"labels": {}}, "no training record has one, so diagnosis cannot"),
    ],
)
def test_what_no_training_case_has_is_refused(recipe, case_store, tmp_path, keys, what):
    folder = cut(case_store, tmp_path / "cut", lambda record: record.model_copy(update=keys))
    with pytest.raises(MedleyError, match=what):
        train(changed(recipe, store=folder))


def test_a_store_of_scans_is_not_one_of_cases(recipe, small_store):
    with pytest.raises(MedleyError, match="contains scans to restore"):
        train(changed(recipe, store=small_store.path))
