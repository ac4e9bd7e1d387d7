"""Pictures of validation records for TensorBoard: input, output and target beside each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Panel = tuple[np.ndarray, float, float]  # an image (row, column), and the values that are black and white


def beside(panels: Sequence[Panel]) -> np.ndarray:
    """Images of equal size beside each other, in grey levels: (row, column) float32 in [0, 1]."""
    return np.concatenate([_grey(*panel) for panel in panels], axis=1)


def labels(masks: np.ndarray) -> np.ndarray:
    """Masks (structure, row, column) as one image: the number of the last structure at each pixel, 0 for none."""
    numbers = np.arange(1, len(masks) + 1)[:, None, None]
    return (numbers * (masks > 0.5)).max(axis=0)


def _grey(image: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((np.asarray(image, np.float32) - low) / max(high - low, 1e-30), 0, 1).astype(np.float32)
