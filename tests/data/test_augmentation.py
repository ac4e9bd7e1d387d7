import math

import numpy as np
import pytest

from medley.data.augmentation import Augmentation, Change, changed_intensity, warped
from medley.data.readers import RecordReader
from medley.data.sampling import Draw, RecordSampler

ALL = ("dose", "segmentation", "diagnosis")


def blob(row, column, rows=40, columns=40, sigma=4.0):
    y, x = np.mgrid[:rows, :columns]
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sigma**2)).astype(np.float32)[None]


def centre(image):
    y, x = np.mgrid[: image.shape[-2], : image.shape[-1]]
    return np.array([(image[0] * axis).sum() for axis in (y, x)]) / image.sum()


def test_no_change_is_the_identity():
    image = blob(12, 25)
    assert warped(image, Change()) is image
    np.testing.assert_array_equal(changed_intensity(image, Change(), clip=True), image)
    assert Augmentation().draw(np.random.default_rng(0)) is None


@pytest.mark.parametrize("shape", [(40, 40), (48, 32)])
@pytest.mark.parametrize("degrees", [-30, 10, 90])
def test_a_rotation_turns_about_the_centre_by_its_angle(shape, degrees):
    middle = (np.array(shape) - 1) / 2
    row, column = -6, 4
    angle = math.radians(degrees)
    found = centre(warped(blob(middle[0] + row, middle[1] + column, *shape, sigma=2.5), Change(angle=angle)))
    turned = (row * math.cos(angle) + column * math.sin(angle), column * math.cos(angle) - row * math.sin(angle))
    np.testing.assert_allclose(found, middle + np.array(turned), atol=0.15)


def test_a_rotation_and_its_inverse_cancel():
    image = blob(16, 22)
    back = warped(warped(image, Change(angle=0.4)), Change(angle=-0.4))
    np.testing.assert_allclose(back, image, atol=0.03)


def test_magnification_multiplies_areas_by_its_square():
    mask = (blob(19.5, 19.5) > 0.3).astype(np.uint8)
    larger = warped(mask, Change(scale=1.5))
    assert larger.dtype == np.uint8
    assert set(np.unique(larger)) <= {0, 1}
    assert larger.sum() / mask.sum() == pytest.approx(2.25, rel=0.08)


def test_intensity_is_linear_and_clipped_where_the_normalisation_clips():
    image = blob(10, 10)
    change = Change(gain=1.2, offset=0.1)
    np.testing.assert_allclose(changed_intensity(image, change, clip=False), 1.2 * image + 0.1, rtol=1e-6)
    assert changed_intensity(image, change, clip=True).max() == 1


def test_input_masks_and_map_of_a_sample_are_changed_alike(case_store):
    [record] = [one for one in case_store.records() if one.id == "case-3"]
    reader = RecordReader(case_store, ("dose", "diagnosis"), ("image", "segmentation", "region"))
    change = Change(angle=0.3, scale=0.9, gain=1.1, offset=-0.05)
    plain, moved = reader(Draw(record)), reader(Draw(record, change=change))
    np.testing.assert_allclose(moved.targets["dose"], warped(plain.targets["dose"], change), atol=1e-6)
    np.testing.assert_array_equal(moved.counts["dose"], warped(plain.counts["dose"], change))
    expected = warped(plain.input[1:].astype(np.uint8), change)
    np.testing.assert_array_equal(moved.input[1:], expected)
    np.testing.assert_allclose(
        moved.input[:1], changed_intensity(warped(plain.input[:1], change), change, clip=True), atol=1e-6
    )
    assert moved.targets["diagnosis"] == plain.targets["diagnosis"]


def test_drawn_changes_keep_the_types_of_a_sample(case_store):
    change = Augmentation(rotation=20, scaling=0.2, intensity=0.2).draw(np.random.default_rng(0))
    reader = RecordReader(case_store, ALL)
    record = case_store.records("train")[1]
    plain, moved = reader(Draw(record)), reader(Draw(record, change=change))
    assert moved.input.dtype == np.float32
    assert {name: array.dtype for name, array in moved.targets.items()} == {
        name: array.dtype for name, array in plain.targets.items()
    }
    assert not np.array_equal(moved.input, plain.input)


def test_changes_lie_within_the_limits_and_depend_on_the_step_only(case_store):
    limits = Augmentation(rotation=10, scaling=0.1, intensity=0.2)
    keys = {"batch": 4, "seed": 1, "augmentation": limits}
    sampler, again, plain = (
        RecordSampler(case_store.prediction_task(), case_store.records("train"), **{**keys, **other})
        for other in ({}, {}, {"augmentation": Augmentation()})
    )
    changes = [draw.change for step in range(20) for draw in sampler.draw(step)]
    assert sampler.draw(7) == again.draw(7)
    assert [draw.record.id for draw in plain.draw(7)] == [draw.record.id for draw in sampler.draw(7)]
    assert all(draw.change is None for draw in plain.draw(7))
    angles, scales = np.array([(math.degrees(one.angle), one.scale) for one in changes]).T
    assert 5 < np.abs(angles).max() <= 10
    assert scales.min() < 0.95
    assert scales.max() <= 1.1
    assert len({one.gain for one in changes}) == len(changes)
