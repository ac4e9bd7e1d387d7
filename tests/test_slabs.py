"""Slabs: streamed and gathered slabs are equal, ends repeat, distances are 0 where a slice is repeated."""

import numpy as np
import pytest

from medley.slabs import slabs_of, stream_slabs

SPACING = (3.0, 0.8, 1.0)


@pytest.fixture
def scan() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((7, 5, 6)).astype(np.float32)


@pytest.mark.parametrize("spacing", [SPACING, (0.0, 1.0, 1.0)])
@pytest.mark.parametrize("reach", [0, 1, 2])
@pytest.mark.parametrize("size", [1, 3, 7, 10])
def test_streamed_slabs_equal_gathered_ones(scan, size, reach, spacing):
    streamed = list(stream_slabs(iter(scan), len(scan), size, reach, spacing))
    assert [len(one) for one in streamed][:-1] == [size] * (len(streamed) - 1)
    expected = slabs_of(scan, range(len(scan)), reach, spacing)
    np.testing.assert_array_equal(np.concatenate([one.values for one in streamed]), expected.values)
    np.testing.assert_array_equal(np.concatenate([one.distances for one in streamed]), expected.distances)
    assert {one.pixel_mm for one in streamed} == {expected.pixel_mm}


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_the_slices_are_in_the_middle(scan, reach):
    slabs = slabs_of(scan, [4, 0, 6], reach, SPACING)
    assert slabs.values.shape == (3, 2 * reach + 1, 5, 6)
    np.testing.assert_array_equal(slabs.centre, scan[[4, 0, 6]])
    assert slabs.pixel_mm == pytest.approx(0.9)


def test_neighbours_are_in_order_and_the_ends_are_repeated(scan):
    slabs = slabs_of(scan, range(7), 1, SPACING)
    np.testing.assert_array_equal(slabs.values[3], scan[2:5])
    np.testing.assert_array_equal(slabs.values[0], scan[[0, 0, 1]])
    np.testing.assert_array_equal(slabs.values[6], scan[[5, 6, 6]])
    np.testing.assert_array_equal(slabs.distances, [[0, 3], *[[3, 3]] * 5, [3, 0]])


@pytest.mark.parametrize(("spacing", "alone"), [(SPACING, True), ((0.0, 1.0, 1.0), False)])
def test_without_neighbours_the_slice_is_repeated(scan, spacing, alone):
    slabs = slabs_of(scan, range(7), 2, spacing, alone=alone)
    np.testing.assert_array_equal(slabs.values, np.repeat(scan[:, None], 5, axis=1))
    assert not slabs.distances.any()


def test_a_single_slice_is_its_own_neighbour(scan):
    (slabs,) = stream_slabs(iter(scan[:1]), 1, 4, 1, SPACING)
    np.testing.assert_array_equal(slabs.values, np.repeat(scan[:1, None], 3, axis=1))
    assert not slabs.distances.any()


def test_only_the_slices_that_are_needed_are_read(scan):
    asked = []

    class Stored:
        shape = (1, *scan.shape)

        def __getitem__(self, index):
            asked.append(index)
            return scan[None][index]

    np.testing.assert_array_equal(slabs_of(Stored(), [3], 1, SPACING).values[0], scan[2:5])
    assert asked == [(0, slice(2, 5))]


def test_a_part_of_slabs(scan):
    part = slabs_of(scan, range(7), 1, SPACING)[2:4]
    np.testing.assert_array_equal(part.centre, scan[2:4])
    assert part.distances.shape == (2, 2)
