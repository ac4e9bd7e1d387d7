"""The noise estimate: white noise, edges, padding, a mask."""

import numpy as np
import pytest

from medley.metrics.noise import noise_level, second_differences, smooth_noise_level


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


@pytest.mark.parametrize("noise", [0.01, 0.2])
def test_the_noise_of_smooth_tissue_is_found_beside_anatomy(noise: float) -> None:
    rng = np.random.default_rng(0)
    image = np.full((96, 96), 10.0)
    image[:, 48:] += 3 * rng.standard_normal((96, 48))  # fine structure, much stronger than the noise
    image[:12] = 0  # air
    noisy = image + noise * rng.standard_normal(image.shape) * (image > 0)
    assert smooth_noise_level(noisy) == pytest.approx(noise, rel=0.1)
    assert noise_level(noisy) > 2 * noise


def test_images_smaller_than_a_block_have_no_noise() -> None:
    assert smooth_noise_level(np.random.default_rng(0).standard_normal((7, 40))) == 0
