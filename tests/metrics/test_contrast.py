"""Contrast, contrast-to-noise and recovery: known numbers, invariances, refusals."""

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.metrics.contrast import contrast, contrast_recovery, contrast_to_noise, recovery

INSIDE = np.zeros((40, 40), bool)
INSIDE[10:20, 10:20] = True


def image() -> np.ndarray:
    return np.random.default_rng(0).normal(2, 0.5, (40, 40)) + 6.0 * INSIDE


def test_contrast_to_noise_is_that_of_the_simulation_and_has_no_unit() -> None:
    assert contrast(image(), INSIDE, ~INSIDE) == pytest.approx(6, abs=0.2)
    ratio = contrast_to_noise(image(), INSIDE, ~INSIDE)
    assert ratio == pytest.approx(12, rel=0.08)
    assert contrast_to_noise(3 * image() - 50, INSIDE, ~INSIDE) == pytest.approx(ratio)
    assert contrast_to_noise(-image(), INSIDE, ~INSIDE) == pytest.approx(-ratio)


def test_recovery_of_a_scaled_image() -> None:
    exact = 2 + 6.0 * INSIDE
    assert recovery(exact, INSIDE, 8) == recovery(exact, INSIDE, 8, maximum=True) == 1
    assert recovery(0.7 * exact, INSIDE, 8) == pytest.approx(0.7)
    assert contrast_recovery(exact, INSIDE, ~INSIDE, 4) == pytest.approx(100)
    assert contrast_recovery(2 + 3.0 * INSIDE, INSIDE, ~INSIDE, 4) == pytest.approx(50)


def test_refusals() -> None:
    with pytest.raises(MedleyError, match="empty"):
        contrast(image(), np.zeros_like(INSIDE), INSIDE)
    with pytest.raises(MedleyError, match="shape"):
        contrast(image(), INSIDE[:5], INSIDE)
    with pytest.raises(MedleyError, match="above 0"):
        recovery(image(), INSIDE, 0)
    with pytest.raises(MedleyError, match="no contrast"):
        contrast_recovery(image(), INSIDE, ~INSIDE, 1)
