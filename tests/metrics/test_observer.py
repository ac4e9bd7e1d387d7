"""The channelised Hotelling observer: the ideal observer's d' in white noise, AUC, invariance, pure noise."""

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.metrics.observer import area_of_index, detectability, ideal_index, laguerre_gauss

SIZE, COUNT = 24, 2000
FOLDS = np.arange(COUNT) % 4
CHANNELS = laguerre_gauss(SIZE, 8.0)


def signal(height: float) -> np.ndarray:
    axis = np.arange(SIZE) - (SIZE - 1) / 2
    return height * np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * 2.5**2))


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(30, 10, (COUNT, SIZE, SIZE))


def test_channels_are_nearly_orthonormal() -> None:
    flat = CHANNELS.reshape(len(CHANNELS), -1)
    assert flat[:4] @ flat[:4].T == pytest.approx(np.eye(4), abs=0.02)


@pytest.mark.parametrize("height", [2.0, 5.0])
def test_the_ideal_index_is_approached_in_white_noise(height: float) -> None:
    found = detectability(noise(0), noise(1) + signal(height), CHANNELS, FOLDS)
    ideal = ideal_index(signal(height), 10)
    assert found.d_prime == pytest.approx(ideal, rel=0.08)
    assert found.auc == pytest.approx(area_of_index(ideal), abs=0.02)


def test_units_do_not_matter() -> None:
    absent, present = noise(0), noise(1) + signal(3)
    one = detectability(absent, present, CHANNELS, FOLDS)
    assert detectability(0.01 * absent, 0.01 * present, CHANNELS, FOLDS).d_prime == pytest.approx(one.d_prime)


def test_nothing_is_detected_where_nothing_is() -> None:
    found = detectability(noise(2), noise(3), CHANNELS, FOLDS)
    assert found.d_prime == pytest.approx(0, abs=0.15)
    assert found.auc == pytest.approx(0.5, abs=0.04)


def test_refusals() -> None:
    few = noise(0)[:8]
    with pytest.raises(MedleyError, match="need at least 12"):
        detectability(few, few, CHANNELS, np.arange(8) % 2)
    with pytest.raises(MedleyError, match="belong together"):
        detectability(few, few, CHANNELS, np.arange(7))
