import itertools

import numpy as np
import pytest

from medley.inference.windows import blend_windows


@pytest.mark.parametrize("shape", [(10, 10), (40, 40), (41, 97), (200, 39), (1, 300)])
def test_every_pixel_is_covered_and_the_identity_shows_no_seam(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random(shape, np.float32)
    np.testing.assert_allclose(blend_windows(image, lambda window: window, side=40, overlap=8), image, atol=1e-6)


def test_windows_that_disagree_are_blended_without_a_step() -> None:
    image = np.zeros((40, 400), np.float32)
    levels = iter(range(100))
    blended = blend_windows(image, lambda window: np.full(window.shape, next(levels), np.float32), side=40, overlap=10)
    steps = np.abs(np.diff(blended[20]))
    assert blended.max() > 5  # many windows, each one level higher
    assert steps.max() < 0.15  # a level is climbed over the overlap, not in one pixel


def test_windows_have_the_given_side_and_overlap() -> None:
    seen = []

    def watch(window: np.ndarray) -> np.ndarray:
        seen.append(window)
        return window

    blend_windows(np.arange(100, dtype=np.float32)[None].repeat(5, 0), watch, side=40, overlap=10)
    assert [window.shape for window in seen] == [(5, 40)] * 3
    starts = [int(window[0, 0]) for window in seen]
    assert starts[0] == 0
    assert starts[-1] == 60
    assert all(b - a <= 30 for a, b in itertools.pairwise(starts))
