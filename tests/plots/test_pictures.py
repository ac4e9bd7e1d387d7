from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from medley.plots.pictures import Contour, blue_red, display_window, grey, overlaid, rounded_up, section, upright
from medley.tasks import TASKS


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)))


# Columns: what a step in slice, row and column does in RAS; the picture must show the corner that lies to the patient's
# right and front (axial), right and top (coronal), front and top (sagittal) in its upper left.
@pytest.mark.parametrize(
    ("slice_step", "row_step", "column_step"),
    [
        ("S", "P", "L"), ("S", "A", "L"), ("I", "P", "R"), ("S", "L", "P"), ("S", "R", "A"),
        ("A", "I", "L"), ("P", "S", "R"), ("A", "L", "I"),
        ("R", "I", "P"), ("L", "S", "A"), ("L", "A", "S"),
    ],
)  # fmt: skip
def test_slices_are_turned_as_radiologists_look_at_them(slice_step: str, row_step: str, column_step: str) -> None:
    towards = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
    affine = np.eye(4)
    affine[:3, :3] = np.array([towards[slice_step], towards[row_step], towards[column_step]]).T
    row, column = np.mgrid[:5, :7]
    place = affine[:3, 1] * row[..., None] + affine[:3, 2] * column[..., None]
    turned = np.stack([upright(place[..., axis], affine) for axis in range(3)], axis=-1)
    down, right = turned[1, 0] - turned[0, 0], turned[0, 1] - turned[0, 0]
    through = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal"}.get(slice_step, "sagittal")
    assert tuple(down) == towards["P" if through == "axial" else "I"]
    assert tuple(right) == towards["P" if through == "sagittal" else "L"]


def test_pictures_show_the_window() -> None:
    image = np.array([[-500.0, -160, 40, 240, 900]])
    np.testing.assert_array_equal(pixels(grey(image, (-160, 240)))[0], [0, 0, 128, 255, 255])
    np.testing.assert_array_equal(pixels(grey(image, (-160, 240), inverted=True))[0], [255, 255, 128, 0, 0])
    blue, white, red = pixels(blue_red(np.array([[-9.0, 0, 9]]), 5))[0].astype(int)
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert (white > 240).all()
    assert max(pixels(grey(np.zeros((2000, 900)), (0, 1))).shape) == 640
    assert display_window(TASKS["ct-denoise"], [image]) == (-160, 240)
    assert display_window(TASKS["mr-sr"], [np.zeros((2, 2))]) == (0, 1)


@pytest.mark.parametrize(("value", "limit"), [(0, 1), (0.7, 1), (1, 1), (1.2, 2), (37, 50), (51, 100), (0.003, 0.005)])
def test_limits_are_round(value: float, limit: float) -> None:
    assert rounded_up(value) == pytest.approx(limit)


@pytest.mark.parametrize(("value", "expected"), [(0.3, 0.5), (0.5, 0.5), (61, 100), (0, 1), (999, 1000), (1.2, 2)])
def test_round_numbers(value: float, expected: float) -> None:
    assert rounded_up(value) == pytest.approx(expected)


@pytest.mark.parametrize(("axis", "expected"), [(0, (2.0, 3.0)), (1, (5.0, 3.0)), (2, (5.0, 2.0))])
def test_sections_of_a_volume_know_their_millimetres(axis: int, expected: tuple[float, float]) -> None:
    affine = np.array([[0.0, 0, -3, 0], [0, -2, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1]])  # up, back, left
    array = np.arange(4 * 6 * 8).reshape(4, 6, 8)
    image, mm = section(array, affine, axis, 1)
    assert mm == expected
    assert image.shape == tuple(n for k, n in enumerate(array.shape) if k != axis)
    turned = np.moveaxis(array, [0, 1, 2], [2, 1, 0])  # the same voxels, stored the other way round
    other, same = section(turned, affine[:, [2, 1, 0, 3]], 2 - axis, 1)
    np.testing.assert_array_equal(other, image)
    assert same == mm


def test_dose_is_washed_over_and_contours_go_round() -> None:
    image = np.full((40, 20), 40.0)
    dose = np.zeros((40, 20))
    dose[:20] = 70
    mask = np.zeros((40, 20), bool)
    mask[25:35, 5:15] = True
    contour = Contour(mask, "#12b5c4")
    window = (-160.0, 240.0)
    shown = pixels(overlaid(image, (1.0, 2.0), [contour], window=window, dose=dose, highest=70, side=400)).astype(int)
    assert shown.shape == (400, 400, 3)  # square pixels of a picture of 40 x 40 mm
    red, grey_, inside = shown[100, 200], shown[300, 20], shown[300, 200]
    assert red[0] > red[2] + 60
    np.testing.assert_array_equal(grey_, [128, 128, 128])
    np.testing.assert_array_equal(inside, grey_)  # a contour is a line, not a filling
    line = (np.abs(shown - [0x12, 0xB5, 0xC4]).max(axis=-1) <= 1).sum()
    assert 1080 < line < 1200  # two pixels along 600
    dotted = pixels(overlaid(image, (1.0, 2.0), [Contour(mask, "#12b5c4", dotted=True)], window=window, side=400))
    assert (np.abs(dotted.astype(int) - [0x12, 0xB5, 0xC4]).max(axis=-1) <= 1).sum() == pytest.approx(line / 2, rel=0.2)
    assert pixels(overlaid(np.zeros((8, 8, 3)), (1.0, 1.0))).shape == (640, 640, 3)
