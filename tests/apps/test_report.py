from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from medley.apps.report import histogram
from medley.apps.survey import Survey, noise, tissue
from medley.inference import Plan
from medley.pictures import blue_red, display_window, grey, rounded_up, upright
from medley.tasks import TASKS, Normalisation
from medley.volume import Volume


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)))


def plan(data: np.ndarray, task: str = "ct-denoise") -> Plan:
    of = TASKS[task]
    return Plan(Volume(data, np.diag([3, -1, -1, 1]), of.modality, of.unit), of, Normalisation(*of.range))


@pytest.mark.parametrize("sigma", [5.0, 40.0])
def test_noise_is_found_on_top_of_structure(sigma: float) -> None:
    row, column = np.mgrid[:256, :256]
    smooth = 60 * np.sin(row / 20) + 80 * (column > 128)  # ramps and one edge
    image = smooth + np.random.default_rng(0).normal(0, sigma, smooth.shape)
    assert noise(image, np.ones((128, 128), bool)) == pytest.approx(sigma, rel=0.05)


def test_padding_and_air_are_not_tissue() -> None:
    image = np.full((40, 40), -1000.0)
    image[10:30, 10:30] = np.random.default_rng(0).normal(40, 10, (20, 20))
    within = tissue(image, -160, 240)
    assert within.sum() == 100
    assert not within[0].any()
    flat = np.full((40, 40), 40.0)
    assert not tissue(flat, -160, 240).any()
    assert np.isnan(noise(flat, tissue(flat, -160, 240)))


def test_the_survey_counts_every_voxel_once_and_keeps_few_slices() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(40, 30, (50, 32, 32)).astype(np.float32)
    data[0, 0, :5] = -3000
    survey = Survey(plan(data))
    for k, one in enumerate(data):
        survey(k, one, one + np.float32(2))
    assert survey.before.sum() == survey.after.sum() == data.size
    assert survey.outside == 5
    assert sorted(survey.shown) == [6, 18, 31, 43]
    assert survey.change == pytest.approx(2, rel=1e-4)
    assert survey.noise is not None
    assert survey.noise[0] == pytest.approx(30, rel=0.05)
    assert histogram(survey).count("<poly") == 2


def test_a_survey_of_one_flat_slice_knows_no_noise() -> None:
    survey = Survey(plan(np.zeros((1, 16, 16), np.float32)))
    survey(0, np.zeros((16, 16), np.float32), np.zeros((16, 16), np.float32))
    assert survey.noise is None
    assert sorted(survey.shown) == [0]
    assert "<svg" in histogram(survey)


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
