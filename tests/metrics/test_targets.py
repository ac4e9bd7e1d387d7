import numpy as np
import pytest

from medley.errors import MedleyError
from medley.metrics.dose import dose_score, dvh_differences
from medley.metrics.labels import balanced_accuracy, mean_auroc
from medley.metrics.overlap import dice
from medley.metrics.targets import MAIN, delta, higher_is_better, pooled, score_output, summarise
from medley.targets import Target

ORGANS = Target(name="segmentation", kind="structures", names=("Brainstem", "Larynx", "PTV70"))
DOSE = Target(name="dose", kind="map", unit="Gy", scale=70, within="possible_dose")
DIAGNOSIS = Target(name="diagnosis", kind="classes", names=("nevus", "melanoma"))


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def test_structures_each_and_their_mean(rng):
    truth = rng.random((3, 4, 5, 6)) < 0.4
    answer = rng.random((3, 4, 5, 6))
    found = score_output(ORGANS, answer, truth)
    each = {f"dice {name}": dice(answer[k] > 0.5, truth[k]) for k, name in enumerate(ORGANS.names)}
    assert found == pytest.approx({"dice": np.mean(list(each.values())), **each})


def test_structures_not_drawn_are_left_out(rng):
    truth = rng.random((3, 4, 5, 6)) < 0.4
    truth[1] = False
    answer = rng.random((3, 4, 5, 6))
    found = score_output(ORGANS, answer, truth, drawn=("Brainstem", "Larynx"))
    assert list(found) == ["dice", "dice Brainstem"]
    assert score_output(ORGANS, answer, np.zeros_like(truth)) == {}


def test_a_map_is_scored_within_its_region(rng):
    truth, answer = rng.uniform(0, 70, (2, 6, 6, 6))
    within = np.zeros((6, 6, 6), bool)
    within[1:5] = True
    truth[~within] = 0
    masks = {"PTV70": np.zeros((6, 6, 6)), "Larynx": np.zeros((6, 6, 6)), "Mandible": np.zeros((6, 6, 6))}
    masks["PTV70"][2:4] = 1
    masks["Larynx"][4:] = 1  # half of it beyond the region, where the answer counts as 0
    assert score_output(DOSE, answer, truth, within=within) == {"mae": dose_score(answer, truth, within)}
    found = score_output(DOSE, answer, truth, within=within, masks=masks, spacing=(3, 4, 4))
    entries = list(dvh_differences(answer * within, truth, masks, (3, 4, 4)).values())
    assert found["dvh"] == pytest.approx(np.mean(entries))
    assert found["dvh entries"] == 5
    assert score_output(DOSE, answer, truth)["mae"] == pytest.approx(np.abs(answer - truth).mean())
    assert score_output(DOSE, answer, truth, within=np.zeros_like(within)) == {}


def test_classes_keep_what_pooled_scores_need():
    found = score_output(DIAGNOSIS, np.array([0.3, 0.7]), "melanoma")
    assert found == {"label": 1, "p nevus": 0.3, "p melanoma": 0.7}


def test_answers_that_fit_nothing_are_refused():
    with pytest.raises(ValueError, match="naevus"):
        score_output(DIAGNOSIS, np.array([0.3, 0.7]), "naevus")
    with pytest.raises(ValueError, match="2 classes"):
        score_output(DIAGNOSIS, np.ones(3), "nevus")
    with pytest.raises(ValueError, match="3 structures"):
        score_output(ORGANS, np.ones((2, 4, 4)), np.ones((2, 4, 4)))
    with pytest.raises(MedleyError, match="diagnosis has values that are not finite"):
        score_output(DIAGNOSIS, np.array([np.nan, 0.7]), "nevus")


def test_structures_are_averaged_over_the_cases_that_have_them():
    rows = [{"dice": 0.5, "dice Larynx": 0.5}, {"dice": 0.9, "dice PTV70": 0.9}, {}]
    assert summarise(ORGANS.kind, rows) == pytest.approx({"dice": 0.7, "dice Larynx": 0.5, "dice PTV70": 0.9})


def test_dvh_entries_of_all_cases_are_one_pool():
    rows = [{"mae": 2.0, "dvh": 1.0, "dvh entries": 1}, {"mae": 4.0, "dvh": 4.0, "dvh entries": 5}, {"mae": 3.0}]
    assert summarise(DOSE.kind, rows) == pytest.approx({"dose_score": 3.0, "dvh_score": 21 / 6})


def test_classes_are_scored_together(rng):
    truth = rng.integers(0, 2, 30)
    p = rng.random((30, 2))
    rows = [score_output(DIAGNOSIS, one, DIAGNOSIS.names[t]) for one, t in zip(p, truth, strict=True)]
    expected = {"auroc": mean_auroc(p, truth), "balanced_accuracy": balanced_accuracy(p, truth)}
    assert summarise(DIAGNOSIS.kind, [*rows, {}]) == pytest.approx(expected)


@pytest.mark.parametrize("target", [ORGANS, DOSE, DIAGNOSIS], ids=lambda t: t.kind)
def test_without_rows_there_is_no_score(target):
    assert summarise(target.kind, []) == {}
    assert summarise(target.kind, [{}]) == {}


def test_a_weight_is_how_often_a_case_is_there(rng):
    columns = {"mae": rng.random(6), "dvh": rng.random(6), "dvh entries": np.array([3.0, 5, 2, 4, np.nan, 1])}
    columns["dvh"][4] = np.nan
    drawn = np.array([0, 0, 3, 4, 4, 5])
    weights = np.bincount(drawn, minlength=6)[None].astype(float)
    again = pooled("map", {name: values[drawn] for name, values in columns.items()}, np.ones((1, 6)))
    found = pooled("map", columns, weights)
    assert {name: value[0] for name, value in found.items()} == pytest.approx({k: v[0] for k, v in again.items()})


def test_delta_is_the_mean_relative_improvement():
    targets = [ORGANS, DOSE]
    assert delta({"segmentation": 0.8, "dose": 2.0}, {"segmentation": 0.8, "dose": 2.0}, targets) == 0
    # +10 % of Dice and 5 % less error
    found = delta({"segmentation": 0.88, "dose": 1.9}, {"segmentation": 0.8, "dose": 2.0}, targets)
    assert found == pytest.approx((10 + 5) / 2)
    assert np.isnan(delta({"dose": np.nan}, {"dose": 2.0}, [DOSE]))


def test_every_main_score_has_a_direction():
    assert {kind: higher_is_better(score) for kind, score in MAIN.items()} == {
        "image": True, "structures": True, "map": False, "classes": True, "phantom": True,
    }  # fmt: skip
