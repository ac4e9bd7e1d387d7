"""Normalisation: round trips, clipping, and compression above the range."""

import numpy as np
import pytest

from medley.normalisation import Normalisation, full_grey


@pytest.mark.parametrize("clip", [True, False])
def test_compressed_values_are_restored(clip):
    scale = Normalisation(-1024, 3071, clip)
    values = np.linspace(-1024, 60000, 500, dtype=np.float32)
    np.testing.assert_allclose(scale.expand(scale.compress(values)), values, rtol=1e-4, atol=0.01)


def test_compression_changes_nothing_within_the_range_and_is_smooth_and_monotonic():
    scale = Normalisation(0, 20)
    inside = np.linspace(0, 20, 100, dtype=np.float32)
    np.testing.assert_allclose(scale.compress(inside), scale.apply(inside), atol=1e-6)
    beyond = scale.compress(np.linspace(0, 200, 2001))
    steps = np.diff(beyond)
    assert (steps > 0).all()
    assert np.abs(np.diff(steps)).max() < 0.01 * steps[0]  # no jump in the slope, also at the end of the range
    assert beyond[-1] == pytest.approx(1 + np.log(10))


def test_values_below_the_range():
    assert Normalisation(0, 20).compress(np.array([-3.0])) == [0]
    assert Normalisation(0, 20, clip=False).compress(np.array([-3.0])) == pytest.approx([-0.15])


def test_expansion_never_overflows():
    assert np.isfinite(Normalisation(0, 20).expand(np.array([1e30], np.float32))).all()


@pytest.mark.parametrize(
    ("largest", "full"),
    [(0, 255), (-3, 255), (255, 255), (256, 511), (1023, 1023), (1023.5, 2047), (4000, 4095), (65535, 65535)],
)
def test_white_is_the_largest_value_of_as_many_bits_as_are_needed(largest, full):
    assert full_grey(largest) == full
