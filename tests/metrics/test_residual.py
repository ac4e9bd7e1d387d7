"""Whether what was removed from an image looks like noise."""

import numpy as np
import pytest
from scipy import ndimage

from medley.metrics.residual import edge_loss, measured_change, peaks, structure
from medley.physics.mr import keep_measured

SIDE = 192
EVERYWHERE = np.ones((SIDE, SIDE), bool)


def noise(blur: float = 0.0, seed: int = 0) -> np.ndarray:
    one = np.random.default_rng(seed).standard_normal((SIDE, SIDE))
    one = ndimage.gaussian_filter(one, blur) if blur else one
    return (one / one.std()).astype(np.float32)


def disk(row: int, column: int, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (np.hypot(rows - row, columns - column) < radius).astype(np.float32)


@pytest.mark.parametrize("blur", [0.0, 1.0])
@pytest.mark.parametrize("growing", [False, True])
def test_nothing_is_found_in_noise_whatever_its_correlation_and_level(blur: float, growing: bool) -> None:
    level = np.linspace(5, 30, SIDE, dtype=np.float32) if growing else np.float32(10)
    assert peaks(noise(blur) * level, EVERYWHERE, 6.0) == []


def test_scores_of_noise_have_the_standard_deviation_one() -> None:
    scores, _ = structure(7 * noise(0.7), EVERYWHERE)
    assert scores.std(axis=(1, 2)) == pytest.approx([1, 1], abs=0.1)


@pytest.mark.parametrize("contrast", [20.0, -20.0])
def test_a_removed_structure_is_found_where_it_was(contrast: float) -> None:
    removed = 10 * noise() + contrast * disk(60, 130, 4)
    (peak,) = peaks(removed, EVERYWHERE, 8.0)
    assert np.hypot(peak.row - 60, peak.column - 130) <= 2
    assert np.sign(peak.score) == np.sign(contrast)
    assert 0.5 < -peak.change / contrast < 1  # averaged over the Gaussian


def test_what_is_outside_is_not_looked_at() -> None:
    removed = noise() + 30 * disk(60, 130, 4)
    left = EVERYWHERE.copy()
    left[:, 96:] = False
    assert peaks(removed, left, 6.0) == []
    assert not structure(removed, np.zeros_like(left))[0].any()


def test_an_image_that_was_not_changed_has_no_score() -> None:
    assert not structure(np.zeros((SIDE, SIDE)), EVERYWHERE)[0].any()


def test_the_loss_of_edges_tells_blurring_from_sharpening_and_noise() -> None:
    sharp = ndimage.gaussian_filter(100 * disk(96, 96, 50), 1.0)
    blurred = ndimage.gaussian_filter(sharp, 1.0)

    def loss(before: np.ndarray, after: np.ndarray) -> float:
        removed, edges = edge_loss(before - after, after, EVERYWHERE)
        return float(removed / edges)

    assert loss(sharp, blurred) > 0.3
    assert loss(blurred, sharp) < -0.2
    assert abs(loss(sharp + 5 * noise(), sharp)) < 0.05


def test_measured_lines_that_are_kept_are_not_changed() -> None:
    before, after = noise(1.0, 1) + 5, noise(2.0, 2) + 5
    changed, power = measured_change(before, after, (48, 64))
    assert changed > 0.01 * power
    kept = keep_measured(after, before, (48, 64))
    changed, power = measured_change(before, kept, (48, 64))
    assert changed < 1e-9 * power
    assert measured_change(before, kept, (192, 192))[0] > 0.01 * power
