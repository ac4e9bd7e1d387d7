import numpy as np
import pytest

from medley.metrics.overlap import dice


def test_equal_masks_agree_wholly_and_disjoint_ones_not_at_all():
    mask = np.arange(12).reshape(3, 4) % 2 == 0
    assert dice(mask, mask) == 1
    assert dice(~mask, mask) == 0


def test_it_is_twice_the_common_part_over_both():
    predicted, truth = np.zeros((2, 10)), np.zeros((2, 10))
    predicted[0, :6] = 1
    truth[0, 2:10] = 1
    assert dice(predicted, truth) == pytest.approx(2 * 4 / (6 + 8))
    assert dice(predicted, truth) == dice(truth, predicted)


def test_a_structure_that_was_not_drawn_says_nothing():
    assert np.isnan(dice(np.ones((2, 2)), np.zeros((2, 2))))
    assert dice(np.zeros((2, 2)), np.ones((2, 2))) == 0


def test_shapes_must_be_one():
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(2, 3\)"):
        dice(np.ones((2, 2)), np.ones((2, 3)))
