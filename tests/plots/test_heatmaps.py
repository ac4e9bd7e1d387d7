import numpy as np
import pytest

from medley.plots.heatmaps import Heatmap, heatmaps
from medley.plots.maps import MapRow, attention, choices
from medley.plots.scatter import scatter


def colours(image):
    return {tuple(one) for one in np.asarray(image).reshape(-1, 3).tolist()}


def test_blue_is_positive_red_negative_and_unknown_grey():
    def darkest(value):
        image = np.asarray(heatmaps([Heatmap("t", ["a"], ["b"], np.array([[value]]))])).astype(int)
        return (image[..., 2] - image[..., 0]).flat[np.abs(image[..., 2] - image[..., 0]).argmax()]

    assert darkest(0.6) > 40
    assert darkest(-0.6) < -40
    assert abs(darkest(0.0)) < 15
    assert abs(darkest(np.nan)) < 15


def test_tables_stand_side_by_side_and_long_names_are_turned():
    one = Heatmap("one", ["a", "b"], ["c", "d"], np.eye(2))
    single, pair, column = (
        heatmaps(tables, per_line) for tables, per_line in (([one], 2), ([one] * 2, 2), ([one] * 2, 1))
    )
    assert pair.height == single.height
    assert pair.width > 1.7 * single.width
    assert column.width == single.width
    assert column.height > 1.7 * single.height
    turned = heatmaps([Heatmap("one", ["a", "b"], ["a very long name of a column"] * 2, np.eye(2))])
    assert turned.width == single.width
    assert turned.height > single.height


def test_every_group_has_its_colour_and_equal_points_can_be_drawn():
    points = np.random.default_rng(0).normal(size=(30, 2))
    three = colours(scatter(points, ["a", "b", "c"] * 10, "t", ("x", "y")))
    two = colours(scatter(points, ["a", "b", "a"] * 10, "t", ("x", "y")))
    assert (0x5B, 0x8C, 0xFF) in three - two
    assert (0xE6, 0x48, 0x3D) in three & two
    assert (0xE6, 0x48, 0x3D) in colours(scatter(np.zeros((3, 2)), ["a"] * 3, "t", ("x", "y")))


@pytest.mark.parametrize("side", [4, 16])
def test_a_map_of_any_resolution_covers_the_image(side):
    halves = np.zeros((side, side), int)
    halves[:, side // 2 :] = 1
    image = np.asarray(choices([MapRow("ct", np.zeros((32, 32)), {"router": halves})], "expert"))
    first, second = ((image == colour).all(axis=2).sum() for colour in ((0xE6, 0x48, 0x3D), (0x35, 0xB5, 0x58)))
    assert first == pytest.approx(220 * 110, rel=0.02)
    assert second == pytest.approx(220 * 110, rel=0.02)


def test_attention_is_drawn_where_it_is_above_an_even_spread():
    values = np.array([[0.5, 0.5], [0.5, 2.5]])
    image = np.asarray(attention([MapRow("case", np.zeros((32, 32)), {"dose to organs": values})]))
    tile = image[22:242, 8 + 228 : 8 + 228 + 220].astype(int)
    assert tile[:50, :50].max() == 0
    assert np.abs(tile[-20:, -20:] - (0xFF, 0x7F, 0x0E)).max() <= 1
