"""Numbers and names: how they are drawn."""

import numpy as np
import pytest

from medley.physics.parameters import Limits, either


def draw(parameter, given, times=400):
    rng = np.random.default_rng(0)
    return [parameter.draw(given, rng) for _ in range(times)]


def test_a_range_is_drawn_evenly():
    values = np.array(draw(Limits(1, 0, 100, closed=True), [0, 4]))
    assert np.histogram(values, [0, 1, 2, 3, 4])[0] == pytest.approx([100] * 4, abs=30)


def test_a_logarithmic_range_is_drawn_evenly_on_a_logarithmic_scale():
    values = np.array(draw(Limits(1, 0, logarithmic=True), (0.01, 1.0)))
    assert values.min() >= 0.01
    assert values.max() <= 1
    assert np.histogram(values, [0.01, 0.1, 1.0])[0] == pytest.approx([200, 200], abs=40)


def test_whole_numbers_are_drawn_evenly_with_both_ends():
    values = draw(Limits(1, 0, whole=True), [2, 6])
    assert all(type(value) is int for value in values)
    assert np.bincount(values, minlength=8)[2:7] == pytest.approx([80] * 5, abs=30)
    assert set(values) == {2, 3, 4, 5, 6}


def test_names_are_drawn_evenly():
    values = draw(either("a", "b", "c"), ["a", "c"])
    assert values.count("a") + values.count("c") == 400
    assert values.count("a") == pytest.approx(200, abs=40)


@pytest.mark.parametrize(
    ("parameter", "given"), [(Limits(1, 0), 0.3), (either("a", "b"), "b"), (Limits(None, 0), None)]
)
def test_a_single_value_uses_no_random_number(parameter, given):
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert parameter.draw(given, rng) is given
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("limits", [Limits(1, 0), Limits(1, 0, logarithmic=True), Limits(1, 0, whole=True)])
def test_a_range_of_one_value_gives_that_value(limits):
    assert set(draw(limits, [3, 3], 20)) == {3}
