"""Where a slice shows tissue."""

import numpy as np

from medley.metrics.tissue import tissue
from medley.tasks import TASKS


def test_tissue_is_above_the_level_of_its_modality():
    values = np.full((20, 20), -1000.0)
    values[5:15, 5:15] = 40
    found = tissue(values, TASKS["ct-denoise"], 3071)
    assert found[10, 10]
    assert not found[1, 1]
    assert 60 <= found.sum() <= 140
    scaled = tissue((values + 1000) / 1040 * 500, TASKS["mr-sr"], 500)
    assert scaled[10, 10]
    assert not scaled[1, 1]
