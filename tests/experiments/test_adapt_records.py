import json

import pytest

from medley.errors import MedleyError, MedleyNotice
from medley.experiments.adapt_records import Source, enough, fitted, held_back, make_records, splits_of
from medley.inference.loading import load_network
from medley.models.weights import Description
from medley.targets import Target
from medley.tasks import Task


def people(count):
    return {f"person-{k}" for k in range(count)}


@pytest.mark.parametrize(("count", "held"), [(1, 0), (2, 1), (5, 1), (6, 2), (18, 6), (29, 6), (35, 7), (100, 20)])
def test_a_fifth_of_the_subjects_is_held_back_and_six_where_that_is_a_third(count, held):
    assert len(held_back({"ct-denoise": people(count)})) == held


def test_a_subject_of_two_tasks_is_on_one_side_and_both_tasks_keep_training_subjects():
    tasks = {"ct-denoise": people(9), "pet-denoise": {"person-1", "person-2"}, "mr-sr": {"person-1", "other"}}
    held = held_back(tasks)
    for of_task in tasks.values():
        assert of_task & held
        assert of_task - held


def test_the_choice_does_not_depend_on_the_order():
    names = sorted(people(20))
    assert splits_of({"a": dict.fromkeys(names, "train")}) == splits_of({"a": dict.fromkeys(names[::-1], "train")})


def test_stated_splits_are_kept():
    stated = {"a": "train", "b": "valid", "c": "train"}
    assert splits_of({"ct-denoise": stated}) == stated


def test_too_few_subjects(tmp_path):
    one = {"ct-denoise": {"a": "train"}}
    with pytest.raises(MedleyError, match=r"ct-denoise has 1 to train on and 0 held back; a task needs at least 2"):
        enough(one, {"a": "train"}, tmp_path)
    both = one | {"mr-sr": {"b": "train", "c": "valid"}}
    with pytest.warns(MedleyNotice, match="ct-denoise has 1 to train on"):
        assert enough(both, {"a": "train", "b": "train", "c": "valid"}, tmp_path) == ("mr-sr",)
    with pytest.raises(MedleyError, match="the network has no task for any scan"):
        enough({}, {}, tmp_path)


def test_one_scan_is_too_few_and_no_store_is_made(department, network, tmp_path):
    source = Source(department, exclude=["ct/person-[1-5]*"])
    with pytest.raises(MedleyError, match="too few subjects: ct-denoise has 1 to train on and 0 held back, pet"):
        make_records(source, tmp_path / "work", load_network(network, "cpu"))
    assert not (tmp_path / "work").exists()


@pytest.mark.filterwarnings("ignore::medley.errors.MedleyNotice")
def test_a_work_folder_belongs_to_its_scans_and_its_model(department, network, tmp_path):
    old = load_network(network, "cpu")
    plan, store = make_records(Source(department), tmp_path / "work", old)
    assert make_records(Source(department), tmp_path / "work", old)[0] == plan
    assert len(store.records()) == 6 * 4
    with pytest.raises(MedleyError, match=r"another adaptation \(the scans differ\); remove it"):
        make_records(Source(department, exclude=["ct/person-3*"]), tmp_path / "work", old)
    with pytest.raises(MedleyError, match="the seed differ"):
        make_records(Source(department), tmp_path / "work", old, seed=1)
    (tmp_path / "work" / "plan.json").write_text(json.dumps({"model": 1}))
    with pytest.raises(MedleyError, match=r"plan\.json: is damaged"):
        make_records(Source(department), tmp_path / "work", old)


def test_other_layouts_of_scans_are_prepared_first(department, network, tmp_path):
    with pytest.raises(MedleyError, match="make a store with medley prepare ldct"):
        make_records(Source(department, "ldct"), tmp_path / "work", load_network(network, "cpu"))


def plans(names=("PTV70", "Cord"), scale=70.0, span=(-200, 300), side=16):
    return Task(
        name="plans", title="Plans", modality="CT", channels=("CT",), range=span, unit="HU", grid=(side,) * 3,
        targets=(
            Target(name="dose", kind="map", unit="Gy", scale=scale, within="possible_dose"),
            Target(name="segmentation", kind="structures", names=names),
        ),
    )  # fmt: skip


def test_records_get_the_ranges_of_the_network(tmp_path):
    inputs = ("image", "segmentation")
    about = Description("dose", "stl", {}, ("dose",), {}, "0", plans().model_dump(mode="json"), inputs)
    theirs = fitted(plans(scale=66.0, span=(-1000, 1000)), about, tmp_path)
    assert theirs == plans()
    for other in (plans(names=("Cord", "PTV70")), plans(side=32)):
        with pytest.raises(MedleyError, match="but those of dose are"):
            fitted(other, about, tmp_path)
