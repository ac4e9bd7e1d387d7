"""Noise power spectra: the integral is the variance, white noise is flat, correlated noise falls as the filter says."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medley.errors import MedleyError
from medley.metrics.spectrum import noise_power

SPACING = (0.8, 0.5)


@pytest.mark.parametrize("repeated", [False, True])
def test_the_integral_is_the_variance(repeated: bool) -> None:
    regions = np.random.default_rng(0).normal(40, 12, (8, 32, 48))
    variance = regions.var(axis=0, ddof=1).mean() if repeated else regions.var(axis=(1, 2)).mean()
    assert noise_power(regions, SPACING, repeated=repeated).variance == pytest.approx(variance, rel=1e-9)


def test_white_noise_is_flat() -> None:
    regions = np.random.default_rng(1).normal(0, 10, (200, 32, 32))
    _, power = noise_power(regions, SPACING).radial(8)
    assert power == pytest.approx(np.full(len(power), 100 * 0.8 * 0.5), rel=0.08)


def test_filtered_noise_has_the_squared_transfer_of_the_filter() -> None:
    sigma = 1.2  # pixels
    white = np.random.default_rng(2).normal(0, 10, (100, 64, 64))
    regions = gaussian_filter(white, (0, sigma, sigma), mode="wrap")
    frequencies, power = noise_power(regions, (0.5, 0.5)).radial(12)
    expected = 100 * 0.25 * np.exp(-2 * (2 * np.pi * sigma * 0.5 * frequencies) ** 2 / 2)
    low = frequencies < 0.35
    assert power[low] == pytest.approx(expected[low], rel=0.1)


def test_an_object_common_to_the_realisations_does_not_count() -> None:
    noise = np.random.default_rng(3).normal(0, 1, (6, 16, 16))
    ramp = np.linspace(0, 1000, 16)
    alone, added = (noise_power(one, SPACING, repeated=True).power for one in (noise, noise + ramp))
    assert added == pytest.approx(alone, rel=1e-6, abs=1e-9)


def test_too_few_realisations() -> None:
    with pytest.raises(MedleyError, match="two realisations"):
        noise_power(np.zeros((1, 8, 8)), SPACING, repeated=True)
