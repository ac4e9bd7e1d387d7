"""Drawing parameters, and what is refused."""

import math

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.physics import DEGRADATIONS, create_degradation
from medley.tasks import TASKS
from medley.volume import Volume


def test_every_task_has_its_degradation():
    for task in TASKS.values():
        options = dict(task.degradation)
        degradation = create_degradation(options.pop("name"), **options)
        assert degradation.modality == task.modality
        drawn = degradation.draw(np.random.default_rng(0))
        assert {name: drawn[name] for name in options} == options


def test_a_pair_is_drawn_evenly_on_a_logarithmic_scale():
    degradation = create_degradation("ct-low-dose", dose=(0.01, 1.0), noise_index=[10, 20])
    rng = np.random.default_rng(0)
    drawn = [degradation.draw(rng) for _ in range(400)]
    doses = np.array([one["dose"] for one in drawn])
    assert doses.min() >= 0.01
    assert doses.max() <= 1
    assert np.mean(doses < 0.1) == pytest.approx(0.5, abs=0.08)
    assert all(10 <= one["noise_index"] <= 20 for one in drawn)
    assert len({one["seed"] for one in drawn}) == 400


def test_whole_numbers_are_drawn_whole():
    degradation = create_degradation("pet-low-count", iterations=(2, 6))
    rng = np.random.default_rng(0)
    drawn = {degradation.draw(rng)["iterations"] for _ in range(100)}
    assert drawn == {2, 3, 4, 5, 6}
    assert all(isinstance(one, int) for one in drawn)


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
        ("ct-low-dose", {"photons": 1e5, "noise_index": 10}, "one of the two"),
        ("mr-truncation", {"keep": -0.1}, "keep"),
        ("mr-truncation", {"noise": -1}, "noise of mr-truncation is -1, but it must be a number from 0 upwards"),
        ("pet-low-count", {"reduction": 0.5}, "reduction"),
        ("pet-low-count", {"subsets": 2.5}, "subsets of pet-low-count is 2.5, but it must be a whole number"),
        ("pet-low-count", {"dose": 0.1}, "has no parameter 'dose'; it has reduction, counts"),
        ("pet-thinning", {}, "there is no degradation 'pet-thinning'; there are mr-truncation"),
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
