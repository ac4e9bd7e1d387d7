"""Where a slice shows tissue and not air."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

from medley.metrics.physical import AROUND, OBJECT
from medley.tasks import Task

_LEVELS = {"CT": -500.0, "PT": OBJECT}  # HU and SUV
_SHARE = 0.05  # of the full scale, for scans without a common unit


def tissue(image: np.ndarray, task: Task, full_scale: float) -> np.ndarray:
    """Where a slice (row, column) shows tissue and not air, bool: above a level after averaging 5 x 5 pixels.

    -500 HU in CT, 0.2 SUV in PET, a twentieth of the full scale in others.

    Parameters
    ----------
    full_scale: the value of the image that corresponds to the upper end of the range of the task.
    """
    level = _LEVELS.get(task.modality, _SHARE * full_scale)
    return uniform_filter(np.asarray(image, np.float32), AROUND) > level
