"""Truncated MR and the finer grid: sizes, and what is refused."""

import numpy as np
import pytest

from medley.physics import create_degradation
from medley.physics.mr import lines_kept, refine_grid


@pytest.mark.parametrize(
    ("lines", "keep", "kept"), [(128, 0.25, 31), (93, 0.25, 23), (8, 0.01, 1), (7, 1.0, 7), (8, 1.0, 8), (8, 0.99, 8)]
)
def test_lines_kept(lines, keep, kept):
    assert lines_kept(lines, keep) == kept


def test_a_constant_stays_and_an_edge_rings():
    image = np.zeros((1, 64, 64), np.float32)
    image[:, :, 32:] = 100
    degradation = create_degradation("mr-truncation")
    bad = degradation.apply(image, degradation.draw(np.random.default_rng(0)), (1, 1))
    assert bad.min() >= 0
    assert bad.mean() == pytest.approx(50, rel=0.05)
    assert bad.max() > 104


@pytest.mark.parametrize("scale", [0, -1, 1.5])
def test_a_grid_is_refined_by_a_whole_number(scale):
    with pytest.raises(ValueError, match="whole number"):
        refine_grid(np.zeros((4, 4), np.float32), scale)
