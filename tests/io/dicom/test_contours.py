"""Contours on a grid: the thickness of a stack of planes is kept, and polygons and masks agree in both directions."""

import numpy as np
import pytest

from medley.io.dicom.contours import distinct, fill, outlines, planes_of, slices_of, touched

SPACINGS = [0.2, 0.3, 0.5, 0.77, 0.9, 1.0, 1.1, 1.25, 1.49]


@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_thickness_of_a_structure_is_kept_at_every_offset(spacing, upwards):
    """n planes cover n * spacing slices to less than one slice, without a gap, also with rounding errors."""
    rng = np.random.default_rng(0)
    for offset in np.linspace(0, 1, 41):
        planes = 10 + offset + spacing * np.arange(17) + rng.uniform(-2e-3, 2e-3, 17)
        found = slices_of(planes, 60, upwards=upwards)
        assert abs(len(found) - 17 * spacing) < 1
        assert np.ptp(list(found)) == len(found) - 1
        assert all(abs(planes[plane] - k) <= max(spacing, 1) / 2 + 0.02 for k, plane in found.items())


@pytest.mark.parametrize("upwards", [True, False])
def test_planes_one_slice_apart_cover_as_many_slices_as_there_are_planes(upwards):
    for offset in np.linspace(-0.5, 0.5, 101):
        for count in (1, 2, 5):
            found = slices_of(4 + offset + np.arange(count), 12, upwards=upwards)
            assert sorted(found.values()) == list(range(count))


@pytest.mark.parametrize("offset", [-0.5, 0.0, 0.5])
def test_no_plane_is_lost_at_the_ends_of_the_scan(offset):
    assert len(slices_of(offset + np.arange(6), 6)) == 6
    assert len(slices_of(np.array([5 + offset]), 6)) == 1


def test_gaps_stay_gaps_and_thin_groups_take_the_nearest_slice():
    assert sorted(slices_of(np.array([2.0, 3, 4, 7, 8]), 12)) == [2, 3, 4, 7, 8]
    assert slices_of(np.array([2.0, 4.0]), 12) == {2: 0, 4: 1}
    assert slices_of(np.array([3.25, 3.35, 3.45]), 12) == {3: 0}


def test_contours_that_differ_by_rounding_lie_in_one_plane():
    heights = np.array([3.0049, 1.0, 3.0051, 2.0, 2.999])
    assert planes_of(heights) == [[1], [3], [4, 0, 2]]


@pytest.mark.parametrize("density", [0.05, 0.3, 0.5, 0.7, 0.95, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 5), (24, 31)])
def test_the_outlines_of_a_mask_enclose_exactly_the_mask(shape, density):
    rng = np.random.default_rng(1)
    for _ in range(20):
        mask = rng.random(shape) < density
        np.testing.assert_array_equal(fill(outlines(mask), shape), mask)


def test_the_outlines_of_a_chessboard_are_one_polygon_for_each_square():
    board = np.indices((9, 9)).sum(axis=0) % 2 == 0
    polygons = outlines(board)
    assert len(polygons) == board.sum()
    np.testing.assert_array_equal(fill(polygons, board.shape), board)


def test_outlines_have_only_the_corners_they_need():
    box = np.zeros((20, 30), bool)
    box[3:17, 4:28] = True
    (polygon,) = outlines(box)
    assert len(polygon) == 8  # a rectangle with its corners cut off
    assert outlines(np.zeros((4, 5), bool)) == []


def test_small_polygons_touch_the_pixels_they_lie_in():
    small = np.array([[3.3, 5.3], [3.3, 5.45], [3.45, 5.45], [3.45, 5.3]])
    assert not fill([small], (8, 9)).any()
    assert np.argwhere(touched([small], (8, 9))).tolist() == [[3, 5]]
    across = np.array([[3.4, 5.3], [3.4, 5.45], [3.6, 5.45], [3.6, 5.3]])
    assert np.argwhere(touched([across], (8, 9))).tolist() == [[3, 5], [4, 5]]


def test_repeated_contours_count_once_whatever_their_direction_and_start():
    one = np.array([[2.0, 1, 1], [2, 1, 5], [2, 5, 5]])
    other = one + np.array([0, 0, 7])
    assert len(distinct([one, one[::-1], np.roll(one, 1, axis=0), other])) == 2
