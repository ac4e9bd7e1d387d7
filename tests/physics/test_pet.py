"""Low-count PET: boxes, empty slices, the filter, and how near the full-count image is."""

import numpy as np
import pytest

from medley.physics import create_degradation


def run(image: np.ndarray, **options: float) -> tuple[np.ndarray, np.ndarray]:
    degradation = create_degradation("pet-low-count", **options)
    parameters = degradation.draw(np.random.default_rng(0))
    return tuple(f(image, parameters, (4.0, 4.0)) for f in (degradation.apply, degradation.reference))


def lesion(size: int = 40) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    return (1 + 5 * np.exp(-(y**2 + x**2) / 0.1)).astype(np.float32)


def test_the_full_count_image_is_near_the_scan_up_to_the_border_of_the_box():
    image = lesion()
    _, full = run(image, counts=20000.0)
    assert np.abs(full - image)[4:-4, 4:-4].mean() < 0.1
    border = np.concatenate([(full / image)[0], (full / image)[-1], (full / image)[:, 0], (full / image)[:, -1]])
    assert border.mean() == pytest.approx(1, abs=0.35)


def test_the_lesion_keeps_its_height():
    low, full = run(lesion(), counts=5000.0)
    assert full[18:22, 18:22].mean() == pytest.approx(lesion()[18:22, 18:22].mean(), rel=0.1)
    assert low[18:22, 18:22].mean() == pytest.approx(full[18:22, 18:22].mean(), rel=0.15)


def test_empty_and_negative_slices_give_nothing():
    for image in (np.zeros((2, 16, 16), np.float32), np.full((2, 16, 16), -0.1, np.float32)):
        for result in run(image):
            assert np.array_equal(result, np.zeros_like(image))


def test_hardly_any_counts_are_still_finite():
    low, full = run(lesion(), counts=0.1)
    assert np.isfinite(low).all()
    assert np.isfinite(full).all()


def test_the_filter_smooths():
    rough, smooth = (np.abs(np.diff(run(lesion(), filter_mm=mm)[0])).mean() for mm in (0.0, 8.0))
    assert smooth < 0.7 * rough
