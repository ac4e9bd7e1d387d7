"""Drawing parameters, and what is refused."""

import json
import math

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.physics import DEGRADATIONS, create_degradation
from medley.physics.grey import FULL_SPECKLE_DB
from medley.tasks import TASKS
from medley.volume import Volume


def test_every_task_has_its_degradation():
    for task in TASKS.values():
        options = dict(task.degradation)
        degradation = create_degradation(options.pop("name"), **options)
        assert degradation.modality == task.modality
        drawn = degradation.draw(np.random.default_rng(0))
        assert {name: drawn[name] for name in options} == options


RECORDS = {
    "ct-low-dose": {"dose": 0.25, "photons": None, "noise_index": 22.0, "electronic": 3.0},
    "mr-truncation": {"keep": 0.25, "noise": 0.0},
    "pet-low-count": {
        "reduction": 10, "counts": 3000.0, "iterations": 3, "subsets": 8, "psf_mm": 5.0, "filter_mm": 4.0,
    },
    "xray-low-dose": {"photons": 30.0},
    "us-speckle": {"std": 0.2},
    "oct-speckle": {"speckle_db": FULL_SPECKLE_DB, "range_db": 50.0, "grain": 0.0},
    "oct-average": {"scans": 5, "step": 8},
    "path-low-resolution": {"factor": 4.0},
}  # fmt: skip
RANGES = {
    "ct-low-dose": {"dose": [0.05, 1.0], "kernel": ["ramp", "shepp-logan", "hann-0.8"], "slice_mm": [1, 5]},
    "mr-truncation": {"keep": [0.25, 1], "keep_columns": [0.25, 1], "partial_fourier": [0.6, 1], "noise": [0, 9]},
    "pet-low-count": {"reduction": [2, 20], "psf_mm": [3, 8], "iterations": [2, 4]},
    "xray-low-dose": {"photons": [10, 1000]},
    "us-speckle": {"std": [0, 0.4]},
    "oct-speckle": {"speckle_db": [1, 5], "range_db": [40, 60], "grain": [0, 3]},
    "oct-average": {"scans": [2, 7], "step": [4, 8]},
    "path-low-resolution": {"factor": [2, 8]},
}


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_the_papers_settings_are_recorded_as_ever(name):
    """The same seed and no other keys than in stores of earlier versions, which remain valid records."""
    drawn = create_degradation(name).draw(np.random.default_rng(7))
    assert drawn == {"seed": int(np.random.default_rng(7).integers(2**32)), **RECORDS[name]}
    assert list(DEGRADATIONS[name].complete(drawn)) == ["seed", *DEGRADATIONS[name].limits]


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_ranges_are_drawn_within_their_ends_and_recorded_as_single_values(name):
    degradation = create_degradation(name, **RANGES[name])
    rng = np.random.default_rng(0)
    drawn = [degradation.draw(rng) for _ in range(50)]
    for key, (*given,) in RANGES[name].items():
        values = [degradation.complete(one)[key] for one in drawn]
        if isinstance(given[0], str):
            assert set(values) == set(given)
        else:
            assert all(given[0] <= value <= given[-1] for value in values)
            assert len(set(values)) >= 3
    rng = np.random.default_rng(0)
    assert [degradation.draw(rng) for _ in range(50)] == drawn
    assert json.loads(json.dumps(drawn)) == drawn
    assert len({one["seed"] for one in drawn}) == 50


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_share_of_scans_is_left_clean(name):
    degradation = create_degradation(name, clean=0.3, **RANGES[name])
    rng = np.random.default_rng(0)
    drawn = [degradation.draw(rng) for _ in range(400)]
    clean = [one for one in drawn if degradation.strength(one) == degradation.strength_of_none]
    assert len(clean) / 400 == pytest.approx(0.3, abs=0.06)
    for one in clean:
        full = degradation.complete(one)
        assert {key: full[key] for key in degradation.none} == degradation.none


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_share_of_scans_has_the_default_parameters(name):
    degradation = create_degradation(name, clean=0.2, defaults=0.5, **RANGES[name])
    default = create_degradation(name).draw(np.random.default_rng(0))
    rng = np.random.default_rng(0)
    drawn = [degradation.draw(rng) for _ in range(400)]
    equal = [one for one in drawn if {**one, "seed": 0} == {**default, "seed": 0}]
    assert len(equal) / 400 == pytest.approx(0.5, abs=0.07)
    clean = sum(degradation.strength(one) == degradation.strength_of_none for one in drawn)
    assert clean / 400 == pytest.approx(0.2, abs=0.06)


def test_the_strength_is_one_number():
    strengths = {name: DEGRADATIONS[name].strength({"seed": 0, **record}) for name, record in RECORDS.items()}
    assert strengths == {
        "ct-low-dose": 0.25, "mr-truncation": 0.25, "pet-low-count": 10, "xray-low-dose": 30, "us-speckle": 0.2,
        "oct-speckle": FULL_SPECKLE_DB, "oct-average": 5, "path-low-resolution": 4,
    }  # fmt: skip
    per_axis = {"seed": 0, "keep": 0.5, "noise": 0.0, "keep_columns": 0.8, "partial_fourier": 0.625}
    assert DEGRADATIONS["mr-truncation"].strength(per_axis) == pytest.approx(0.5)
    with pytest.raises(MedleyError, match="lack 'reduction'"):
        DEGRADATIONS["pet-low-count"].strength({"seed": 0})


@pytest.mark.parametrize(
    ("options", "scan_noise"),
    [
        ({}, "ignored"),
        ({"dose": 0.5}, "ignored"),
        ({"dose": 1}, "counted"),
        ({"dose": [0.05, 1.0]}, "counted"),
        ({"dose": 0.5, "scan_noise": "counted"}, "counted"),
        ({"dose": [0.05, 1.0], "scan_noise": "ignored"}, "ignored"),
    ],
)
def test_the_noise_of_the_scan_counts_where_the_dose_reaches_the_full_one(options, scan_noise):
    assert create_degradation("ct-low-dose", **options).parameters["scan_noise"] == scan_noise


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ct-low-dose", {"dose": 0}, "dose of ct-low-dose is 0, but it must be a number above 0 to 1"),
        ("ct-low-dose", {"dose": 1.5}, "dose"),
        ("ct-low-dose", {"dose": "quarter"}, "dose"),
        ("ct-low-dose", {"dose": math.nan}, "dose"),
        ("ct-low-dose", {"dose": None}, "dose"),
        ("ct-low-dose", {"dose": True}, "dose"),
        ("ct-low-dose", {"dose": (0.5, 0.2)}, "low <= high"),
        ("ct-low-dose", {"dose": (0.1, 0.2, 0.3)}, "low <= high"),
        ("ct-low-dose", {"dose": (0.1, 2)}, "dose"),
        ("ct-low-dose", {"electronic": (-1, 5)}, r"electronic of ct-low-dose is \[-1, 5\], but both ends of the range"),
        ("ct-low-dose", {"dose": []}, "low <= high"),
        ("ct-low-dose", {"dose": [0.1, None]}, "both ends of the range must be a number above 0 to 1"),
        (
            "ct-low-dose",
            {"kernel": "bone"},
            "kernel of ct-low-dose is 'bone', but it must be ramp, shepp-logan or hann",
        ),
        ("ct-low-dose", {"kernel": ["ramp", "hann-1.5"]}, "kernel of ct-low-dose is 'hann-1.5', but it must be"),
        ("ct-low-dose", {"kernel": []}, "kernel of ct-low-dose is an empty list"),
        ("ct-low-dose", {"kernel": 3}, "kernel"),
        ("ct-low-dose", {"slice_mm": 0}, "slice_mm of ct-low-dose is 0, but it must be a number above 0"),
        ("ct-low-dose", {"scan_noise": "count"}, "it must be ignored or counted"),
        ("ct-low-dose", {"clean": 1.5}, "clean of ct-low-dose is 1.5, but it must be a number from 0 to 1"),
        ("ct-low-dose", {"defaults": -1}, "defaults of ct-low-dose is -1, but it must be a number from 0 to 1"),
        ("ct-low-dose", {"clean": 0.6, "defaults": 0.5}, "more than 1 together"),
        ("mr-truncation", {"partial_fourier": [0.3, 1]}, "partial_fourier of mr-truncation is .*from 0.5 to 1"),
        ("mr-truncation", {"noise": 3, "noise_percent": [1, 2]}, "one of the two"),
        ("mr-truncation", {"phase": "slices"}, "it must be rows or columns"),
        ("pet-low-count", {"iterations": [2, 3.5]}, "both ends of the range must be a whole number"),
        ("ct-low-dose", {"photons": 1e5, "noise_index": 10}, "one of the two"),
        ("mr-truncation", {"keep": -0.1}, "keep"),
        ("mr-truncation", {"noise": -1}, "noise of mr-truncation is -1, but it must be a number from 0 upwards"),
        ("pet-low-count", {"reduction": 0.5}, "reduction"),
        ("pet-low-count", {"subsets": 2.5}, "subsets of pet-low-count is 2.5, but it must be a whole number"),
        ("xray-low-dose", {"photons": 0}, "photons of xray-low-dose is 0, but it must be a number above 0"),
        ("us-speckle", {"std": -0.1}, "std of us-speckle is -0.1, but it must be a number from 0 to 10"),
        ("oct-speckle", {"speckle_db": 6}, "speckle_db of oct-speckle is 6, but it must be a number from 0 to 5.5"),
        ("oct-average", {"scans": 2.5}, "scans of oct-average is 2.5, but it must be a whole number"),
        ("path-low-resolution", {"factor": 0.5}, "factor of path-low-resolution is 0.5, but it must be"),
        ("pet-low-count", {"dose": 0.1}, "has no parameter 'dose'; it has reduction, counts"),
        ("pet-thinning", {}, "there is no degradation 'pet-thinning'; the degradations are mr-truncation"),
    ],
)
def test_wrong_parameters_are_refused(name, options, message):
    with pytest.raises(MedleyError, match=message):
        create_degradation(name, **options)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_parameters_that_were_not_drawn_are_refused(name):
    degradation = create_degradation(name)
    good = degradation.draw(np.random.default_rng(0))
    image = np.zeros((8, 8), np.float32)
    first = next(iter(degradation.limits))
    for wrong in ({**good, first: (0.2, 0.3)}, {**good, first: -1}, {**good, "seed": -1}, {**good, "seed": "a"}):
        with pytest.raises(MedleyError, match="must be"):
            degradation.apply(image, wrong, (1, 1))
    with pytest.raises(MedleyError, match="lack 'seed'"):
        degradation.apply(image, {k: v for k, v in good.items() if k != "seed"}, (1, 1))


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_wrong_images_are_refused(name):
    degradation = create_degradation(name)
    parameters = degradation.draw(np.random.default_rng(0))
    image = np.zeros((2, 8, 8), np.float32)
    wrong = "CT" if degradation.modality != "CT" else "MR"
    with pytest.raises(MedleyError, match=f"is for {degradation.modality} scans, but this one is {wrong}"):
        degradation.apply(Volume(image, np.eye(4), wrong), parameters)
    image[1, 2, 3] = np.nan
    with pytest.raises(MedleyError, match="not finite"):
        degradation.apply(image, parameters, (1, 1))
    with pytest.raises(TypeError, match="spacing"):
        degradation.apply(image, parameters)
    with pytest.raises(ValueError, match="row, column"):
        degradation.apply(image[None], parameters, (1, 1))


def test_a_volume_of_unknown_modality_is_taken_at_its_word():
    degradation = create_degradation("mr-truncation")
    volume = Volume(np.ones((1, 8, 8), np.float32), np.eye(4))
    bad = degradation.apply(volume, degradation.draw(np.random.default_rng(0)))
    np.testing.assert_allclose(bad.data, 1, atol=1e-6)
