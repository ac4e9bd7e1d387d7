"""The conditions of a slice: estimates of its noise, its task, distances and pixel size."""

import numpy as np
import pytest

from medley.inference.conditions import conditions
from medley.metrics.noise import noise_levels
from medley.models.slab import MEASURED
from medley.slabs import Slabs


def head(noise: float, seed: int = 0) -> np.ndarray:
    """A bright disk with smooth structure on a black background, and white noise in it."""
    rows, columns = np.mgrid[:128, :128] - 64
    inside = np.hypot(rows, columns) < 50
    rng = np.random.default_rng(seed)
    return (0.3 + 0.05 * np.sin(rows / 9) + noise * rng.standard_normal((128, 128))) * inside


@pytest.mark.parametrize("noise", [0.003, 0.01, 0.03])
def test_white_noise_is_estimated_within_five_percent(noise):
    fine, coarse = noise_levels(head(noise))
    assert fine == pytest.approx(noise, rel=0.05)
    assert coarse == pytest.approx(noise / 2, rel=0.12)


def test_the_estimate_scales_with_the_image():
    image = head(0.01)
    np.testing.assert_allclose(noise_levels(3 * image), 3 * np.array(noise_levels(image)))


def test_a_blurred_image_has_less_fine_noise():
    image = head(0.01)
    blurred = (image + np.roll(image, 1, 0) + np.roll(image, 1, 1) + np.roll(image, (1, 1), (0, 1))) / 4
    fine, coarse = noise_levels(blurred)
    assert fine / coarse < 0.6 * np.divide(*noise_levels(image))


def test_constant_images_have_no_noise():
    assert noise_levels(np.full((16, 16), 0.25)) == (0, 0)
    assert noise_levels(np.zeros((17, 19))) == (0, 0)


def test_the_vector():
    images = np.stack([head(0.01), head(0.0)]).astype(np.float32)
    slabs = Slabs(images[:, None], np.array([[0, 3], [3, 7]], np.float32), pixel_mm=2.0)
    found = conditions(slabs, images, 1, 3)
    assert found.shape == (2, 3 + len(MEASURED))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, :3], [[0, 1, 0]] * 2)
    assert found[0, 3] == pytest.approx(0, abs=0.05)  # log10 of 0.01, plus 2
    np.testing.assert_allclose(found[:, 5:], [[0, 2, 1], [2, 3, 1]])
    assert np.isfinite(found).all()
