"""The task transfer function: 1 for identity and scaling, that of a Gaussian blur."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medley.errors import MedleyError
from medley.metrics.transfer import transfer_function

CENTRE, RADIUS, PIXEL = (63.28, 64.11), 30.0, 0.8


def disk() -> np.ndarray:
    """A disk of 100 HU, averaged over 8 x 8 points in each pixel."""
    axis = (np.arange(128 * 8) + 0.5) / 8 - 0.5
    fine = (np.hypot(axis[:, None] - CENTRE[0], axis - CENTRE[1]) < RADIUS) * 100.0
    return fine.reshape(128, 8, 128, 8).mean(axis=(1, 3))


def test_identity_and_scaling_have_the_transfer_function_1() -> None:
    for image in (disk(), 0.3 * disk() + 7):
        _, transfer = transfer_function(image, disk(), CENTRE, RADIUS, PIXEL)
        assert transfer == pytest.approx(np.ones_like(transfer), abs=1e-6)


@pytest.mark.parametrize("sigma", [0.8, 1.6])
def test_a_gaussian_blur_has_its_own_transfer_function(sigma: float) -> None:
    blurred = gaussian_filter(disk(), sigma)
    frequencies, transfer = transfer_function(blurred, disk(), CENTRE, RADIUS, PIXEL)
    expected = np.exp(-2 * (np.pi * sigma * PIXEL * frequencies) ** 2)
    assert transfer == pytest.approx(expected, abs=0.03)


def test_no_disk_or_no_room() -> None:
    with pytest.raises(MedleyError, match="no edge"):
        transfer_function(np.zeros((128, 128)), disk(), CENTRE, RADIUS, PIXEL)
    with pytest.raises(MedleyError, match="no edge to measure"):
        transfer_function(disk(), disk(), CENTRE, 60, PIXEL)
