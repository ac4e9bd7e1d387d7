"""The part of the report that asks whether anatomy was removed."""

import numpy as np

from medley.apps._residual_report import residual_section
from medley.inference.plan import RestorationPlan
from medley.inference.residual import ResidualTest
from medley.tasks import TASKS
from medley.volume import Volume

AFFINE = np.array([[0, 0, -1.0, 90], [0, -1.0, 0, 80], [3, 0, 0, -50], [0, 0, 0, 1]], float)


def section(lesion: float) -> str:
    """Of a restoration that removed noise of 20 HU and a square of some contrast."""
    task = TASKS["ct-denoise"]
    after = np.full((1, 128, 128), 40, np.float32)
    after[0, 30:70, 20:60] += 40
    before = after + np.random.default_rng(0).normal(0, 20, after.shape).astype(np.float32)
    before[0, 58:66, 96:104] += lesion
    test = ResidualTest(RestorationPlan(Volume(before, AFFINE, "CT", "HU"), task, task.normalisation))
    test(0, before[0], after[0])
    return residual_section(test, task.window)


def test_a_flagged_region_is_numbered_and_has_its_place_and_close_ups() -> None:
    html = section(80)
    assert "Regions to look at: 1 removed." in html
    assert "1. removed: −" in html
    assert "HU" in html
    assert "slice 1, row 6" in html
    assert html.count("data:image/png;base64,") == 3


def test_without_a_region_it_says_so_and_states_the_measures() -> None:
    html = section(0)
    assert "Nothing suspicious found in what was removed." in html
    assert "mean change, soft tissue" in html
    assert "removed from the steepest edges" in html
    assert "data:image" not in html
