"""Laws of low-dose CT: variance grows as one over the dose, and the noise has the size that was asked for."""

import numpy as np
import pytest

from medley.physics import create_degradation


def water(pixels: int = 64, mm: float = 3.0, radius: float = 75.0) -> tuple[np.ndarray, np.ndarray]:
    """A cylinder of water in air, HU, and which pixels are its middle."""
    axis = (np.arange(pixels) - (pixels - 1) / 2) * mm
    distance = np.hypot(axis[:, None], axis)
    return np.where(distance < radius, 0, -1000).astype(np.float32), distance < 0.3 * radius


def noise(image: np.ndarray, mm: float, slices: int, **options: float) -> np.ndarray:
    degradation = create_degradation("ct-low-dose", **options)
    stack = np.repeat(image[None], slices, 0)
    return degradation.apply(stack, degradation.draw(np.random.default_rng(0)), (mm, mm)) - stack


@pytest.mark.parametrize("exposure", [{"photons": 2e5}, {"noise_index": 10.0}])
def test_variance_grows_as_one_over_the_dose(exposure):
    image, middle = water()
    doses = [1.0, 0.5, 0.25, 0.1]
    scaled = [noise(image, 3.0, 40, dose=dose, electronic=0.0, **exposure)[:, middle].var() * dose for dose in doses]
    # 40 slices of some hundred pixels each: the variance is known to about 1.5 %
    np.testing.assert_allclose(scaled, scaled[0], rtol=0.06)


def test_the_noise_has_no_bias():
    image, middle = water()
    values = noise(image, 3.0, 40, dose=0.25)[:, middle]
    assert abs(values.mean()) < 0.05 * values.std()


@pytest.mark.parametrize(("pixels", "mm"), [(64, 3.0), (100, 1.8), (48, 4.5)])
def test_the_noise_index_is_reached_on_any_grid(pixels, mm):
    image, _ = water(pixels, mm)
    axis = np.arange(pixels) - (pixels - 1) / 2
    middle = np.hypot(axis[:, None], axis) * mm < 12  # here every ray is about as thick as the thickest
    std = noise(image, mm, 60, dose=1.0, noise_index=12.0, electronic=0.0)[:, middle].std()
    assert std == pytest.approx(12, rel=0.1)


def test_electronic_noise_adds_to_it():
    image, middle = water()
    quiet, loud = (noise(image, 3.0, 20, dose=0.25, electronic=e)[:, middle].std() for e in (0.0, 20.0))
    assert loud > 1.2 * quiet
