"""The noise of a scan before and after its restoration, in the unit of its task."""

import numpy as np
import pytest

from medley.inference.noise import NoiseCurve, measured_slices, noise_of_slices, noise_unit
from medley.normalisation import Normalisation
from medley.tasks import TASKS, task_named

SPACING = (3.0, 1.0, 1.0)


def noisy(slices: int = 3, level: float = 40.0, std: float = 10.0, seed: int = 0) -> np.ndarray:
    """A square of some value with white noise, in a background of -1000."""
    data = np.full((slices, 96, 96), -1000.0, np.float32)
    data[:, 8:88, 8:88] = np.random.default_rng(seed).normal(level, std, (slices, 80, 80))
    return data


def test_few_slices_are_measured_evenly_over_the_scan() -> None:
    assert measured_slices(1) == (0,)
    assert measured_slices(5) == (0, 1, 2, 3, 4)
    assert measured_slices(90) == (5, 15, 25, 35, 45, 55, 65, 75, 85)


def test_the_curve_is_the_noise_of_blends() -> None:
    before = noisy()
    after = before + 0.7 * (40 - before) * (before > -500)
    task, scale = task_named("ct-denoise"), Normalisation(-1024, 3071)
    curve = NoiseCurve(task, scale, SPACING)
    for pair in zip(before, after, strict=True):
        curve.add(*pair)
    for strength in (0, 0.3, 1):
        # Of the same blocks: the change from slice to blend is the blend itself, at full strength.
        blended = NoiseCurve(task, scale, SPACING)
        for one, other in zip(before, after, strict=True):
            blended.add(one, one + np.float32(strength) * (other - one))
        np.testing.assert_allclose(curve.levels([strength]), blended.levels([1]), rtol=1e-5)
    np.testing.assert_allclose(curve.levels([0, 1]), [10, 3], rtol=0.05)


def test_each_task_has_a_unit() -> None:
    assert {name: noise_unit(task) for name, task in TASKS.items() if task.modality in ("CT", "PT", "MR")} == {
        "mr-sr": "% of full scale",
        "ct-denoise": "HU",
        "pet-denoise": "% of the mean",
    }


@pytest.mark.parametrize(
    ("task", "data", "high", "expected"),
    [
        ("ct-denoise", noisy(), 3071, 10),
        ("pet-denoise", np.maximum(noisy(level=5, std=0.5), 0), 20, 10),
        ("mr-sr", np.maximum(noisy(level=500, std=20), 0), 1000, 2),
    ],
)
def test_the_noise_of_a_scan_is_in_the_unit_of_its_task(task: str, data: np.ndarray, high: float, expected: float):
    found = noise_of_slices(data, task_named(task), Normalisation(0, high), SPACING)
    assert found == pytest.approx(expected, rel=0.1)


def test_a_scan_that_is_too_small_has_no_noise() -> None:
    small = noisy()[:1, 8:24, 8:24]
    assert noise_of_slices(small, task_named("ct-denoise"), Normalisation(-1024, 3071), SPACING) is None
