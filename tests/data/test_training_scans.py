"""The description of a store's training scans is that of the scans themselves."""

import json

import numpy as np
import pytest

from medley.data import training_scans
from medley.data.training_scans import describe_scans, record_features
from medley.geometry.body import DIRECTIONS
from medley.inference.predictor import view_scan
from medley.inference.training_scans import FEWEST, RestorableScans, described_scans, input_features
from medley.models import weights
from medley.models.weights import Description
from medley.targets import Target
from medley.tasks import TASKS, Task
from medley.training.loop import train
from medley.training.recipe import RestorationRecipe
from medley.volume import Volume

CT = TASKS["ct-denoise"]
BODY = Task(
    name="body", title="Body", modality="CT", channels=("CT",), range=(-1000, 1000), unit="HU", grid=(16, 16, 16),
    spacing=(6.0, 6.0, 6.0), targets=(Target(name="dose", kind="map", unit="Gy", scale=70),),
)  # fmt: skip
SKIN = Task(
    name="skin", title="Skin", channels=("red", "green", "blue"), range=(0, 255), grid=(32, 32),
    targets=(Target(name="grade", kind="classes", names=("low", "high")),),
)  # fmt: skip


def describing(found: dict, task: Task) -> Description:
    stated = {} if task.restores else task.model_dump(mode="json")
    return Description("made", "tat", {}, (task.name,), {}, "0", task=stated, training_scans=found)


def test_a_scan_has_the_features_of_its_record(subjects, tmp_path) -> None:
    store = subjects.restoration(tmp_path / "store", 40)
    scans = RestorableScans(describing(describe_scans(store, [CT.name]), CT))
    affine = np.diag([-0.8, -0.8, 3.0, 1.0])[:, [2, 1, 0, 3]]
    found = scans.compare(Volume(subjects.ct(3), affine, "CT", "HU"), CT, CT.range[1])
    assert found is not None
    assert found.distance == pytest.approx(0, abs=2e-3)  # numbers are stored with six digits
    valid = scans.compare(Volume(subjects.ct(40), affine, "CT", "HU"), CT, CT.range[1])
    assert valid is not None
    assert valid.alike
    assert valid.distance > 0.01


def test_a_body_has_the_features_of_its_record_however_it_is_stored(subjects, tmp_path) -> None:
    store = subjects.prediction(tmp_path / "store", BODY)
    scans = described_scans(describing(describe_scans(store, [BODY.name]), BODY), BODY)
    affine = np.eye(4)
    affine[:3, :3] = DIRECTIONS * 6.0
    turned = affine[:, [2, 0, 1, 3]]  # the axes of the file in another order
    hu = subjects.body(3)[0]
    assert scans is not None
    for values, place in ((hu, affine), (hu.transpose(2, 0, 1), turned)):
        view = view_scan(Volume(np.ascontiguousarray(values), place, "CT", "HU"), BODY)
        assert scans.compare(input_features(view, BODY)).distance == pytest.approx(0, abs=2e-3)


def test_training_subjects_only_and_all_of_them(subjects, tmp_path) -> None:
    store = subjects.prediction(tmp_path / "store", SKIN)
    found = describe_scans(store, [SKIN.name])["skin"]
    assert found["subjects"] == list(range(12))
    first = record_features(store, store.records("train")[0])
    np.testing.assert_allclose(found["scans"][0], [first[name] for name in found["features"]], rtol=1e-3)
    json.dumps(found, allow_nan=False)


def test_no_name_of_a_subject_is_stored(subjects, tmp_path) -> None:
    store = subjects.restoration(tmp_path / "store")
    assert "person" not in json.dumps(describe_scans(store, [CT.name]))


def test_too_few_subjects_are_not_described(subjects, tmp_path) -> None:
    assert describe_scans(subjects.restoration(tmp_path / "few", FEWEST - 1), [CT.name]) == {}
    assert CT.name in describe_scans(subjects.restoration(tmp_path / "enough", FEWEST), [CT.name])


def test_inputs_that_are_no_scans_or_colour_photographs_are_not_described(case_store) -> None:
    assert describe_scans(case_store, ["discs", "a task of another store"]) == {}


def test_of_many_records_the_same_ones_are_drawn(subjects, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(training_scans, "LARGEST", 9)
    store = subjects.prediction(tmp_path / "store", SKIN)
    found = describe_scans(store, [SKIN.name])
    assert len(found["skin"]["scans"]) == 9
    assert describe_scans(store, [SKIN.name]) == found


def test_training_writes_the_description(subjects, tmp_path) -> None:
    store = subjects.restoration(tmp_path / "store")
    recipe = RestorationRecipe(
        name="small", model="slab", config={"dim": 4, "blocks": (1, 1, 1, 1)}, store=store.path,
        output=tmp_path / "run", steps=1, patch=16, patches=1, tasks=(CT.name,), accelerator="cpu",
        validation={"slices": 1},
    )  # fmt: skip
    description = weights.describe(train(recipe))
    assert description.training_scans == describe_scans(store, [CT.name])
