"""Shifts between images: recovered to a few hundredths of a pixel, also under noise and blur."""

import numpy as np
import pytest
from scipy import ndimage

from medley.metrics.alignment import estimate_shift


def anatomy(seed=0, shape=(96, 80)):
    """Smooth structures inside of an ellipse, dark outside."""
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.normal(size=shape), 2.5)
    row, column = np.mgrid[: shape[0], : shape[1]]
    body = (row / shape[0] - 0.5) ** 2 + (column / shape[1] - 0.5) ** 2 < 0.15
    return ndimage.gaussian_filter(body * (1 + 4 * texture), 0.8)


@pytest.mark.parametrize("shift", [(0, 0), (0.3, -0.6), (1.25, 0.5), (-7.4, 5.2), (0, 12)])
def test_a_shift_is_recovered(shift):
    image = anatomy()
    moved = ndimage.shift(image, shift, order=5)
    assert estimate_shift(image, moved) == pytest.approx(shift, abs=0.03)
    assert estimate_shift(moved, image) == pytest.approx([-x for x in shift], abs=0.03)


@pytest.mark.parametrize("seed", range(4))
def test_noise_blur_and_another_contrast_do_not_shift(seed):
    image = anatomy(seed)
    noisy = image + np.random.default_rng(seed).normal(0, 0.3, image.shape)
    assert estimate_shift(image, noisy) == pytest.approx((0, 0), abs=0.1)
    assert estimate_shift(image, 3 * ndimage.gaussian_filter(image, 2) - 7) == pytest.approx((0, 0), abs=0.05)


def test_a_shift_is_recovered_under_noise():
    image = anatomy(1)
    moved = ndimage.shift(image, (0.7, -0.4), order=5) + np.random.default_rng(1).normal(0, 0.2, image.shape)
    assert estimate_shift(image, moved) == pytest.approx((0.7, -0.4), abs=0.1)


def test_images_without_structure_have_no_shift():
    blank = np.zeros((40, 40))
    stripes = np.sin(np.arange(40) / 3)[:, None].repeat(40, axis=1)
    assert estimate_shift(blank, anatomy(0, (40, 40))) is None
    assert estimate_shift(anatomy(0, (40, 40)), blank) is None
    assert estimate_shift(stripes, stripes) is None
