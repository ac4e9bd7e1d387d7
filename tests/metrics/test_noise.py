"""The noise estimate: white noise, edges, padding, a mask."""

import numpy as np
import pytest

from medley.metrics.noise import noise_level, second_differences


@pytest.mark.parametrize("noise", [0.003, 0.05])
def test_noise_level_of_white_noise(noise: float) -> None:
    image = np.random.default_rng(2).normal(0.5, noise, (200, 160)).astype(np.float32)
    assert noise_level(image) == pytest.approx(noise, rel=0.03)
    ramp = image + np.linspace(0, 1, 160, dtype=np.float32)
    assert noise_level(ramp) == pytest.approx(noise, rel=0.03)
    padded = np.pad(image, 200)
    assert noise_level(padded) == pytest.approx(noise, rel=0.03)


def test_noise_level_of_nothing() -> None:
    assert noise_level(np.zeros((20, 20), np.float32)) == 0


def test_planes_and_edges_along_an_axis_have_no_second_difference() -> None:
    rows, columns = np.mgrid[:20, :30].astype(float)
    assert not second_differences(3 * rows - 2 * columns + 5).any()
    assert not second_differences((columns > 12) * 4.0).any()


def test_only_the_mask_counts() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(0, 0.1, (80, 80))
    image[:, 40:] *= 5
    left = np.zeros((80, 80), bool)
    left[:, :38] = True
    assert noise_level(image, left) == pytest.approx(0.1, rel=0.05)
    assert noise_level(image, np.zeros((80, 80), bool)) == 0
