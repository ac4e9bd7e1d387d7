"""The CT phantom: the unchanged image keeps contrast and transfer, and a blur loses what it must."""

import numpy as np
import pytest
from benchmarks.ct_phantom import measure, phantom, read
from scipy.ndimage import gaussian_filter

from medley.errors import MedleyError


@pytest.fixture(scope="module")
def water() -> np.ndarray:
    inside = np.hypot(*(np.indices((256, 256)) - 127.5)) < 116
    return np.where(inside, 0, -1000) + np.random.default_rng(0).normal(0, 20, (4, 256, 256))


def test_unchanged_and_blurred(water: np.ndarray) -> None:
    made = phantom(water, edge=50, signal=20, diameter=5)
    assert made.pixel == pytest.approx(200 / 232, rel=0.002)
    blurred = [gaussian_filter(one, (0, 1, 1)) for one in (made.absent, made.present)]
    same, less = (
        {row.check.removesuffix(", dose 100 %"): row.value for row in measure(made, *images, "m", 100, 5)}
        for images in ([made.absent, made.present], blurred)
    )
    assert same["contrast kept"] == pytest.approx(1, abs=1e-4)
    assert same["transfer at 0.4/mm"] == pytest.approx(1, abs=1e-3)
    assert same["noise"] == pytest.approx(20, rel=0.02)
    assert less["noise"] == pytest.approx(20 / np.sqrt(4 * np.pi), rel=0.05)
    assert less["transfer at 0.2/mm"] == pytest.approx(np.exp(-2 * (np.pi * 0.2 * made.pixel) ** 2), abs=0.04)
    assert less["CNR"] > 3 * same["CNR"]
    assert less["d'"] == pytest.approx(same["d'"], rel=0.15)  # an invertible filter hides nothing from the observer


def test_a_missing_dose_is_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MedleyError, match="dose055"):
        read(tmp_path, 55)
