"""What the error of a restored pixel depends on: features of its surroundings before and after."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude

from medley.metrics.noise import noise_levels

# Each is the logarithm of a value in the scale of a network, from 0 to 1, so that ratios count.
FEATURES = (
    "noise of the slice",
    "noise of the slice after averaging 2 x 2 pixels",
    "root mean square change within 1.5 pixels",
    "root mean square change within 6 pixels",
    "absolute mean change within 1.5 pixels",
    "slope of the result",
    "texture of the result within 2 pixels",
    "value of the result",
)
_LEAST = 1e-4  # of a value: smaller ones are not told apart


def error_features(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """`FEATURES` of every pixel, (feature, row, column) float32.

    before, after: (row, column), the degraded and the restored slice in the scale of the network.
    """
    before, after = (np.asarray(one, np.float32) for one in (before, after))
    change = after - before
    details = after - gaussian_filter(after, 2)
    values = [
        *(np.full(before.shape, level) for level in noise_levels(before)),
        np.sqrt(gaussian_filter(change**2, 1.5)),
        np.sqrt(gaussian_filter(change**2, 6)),
        np.abs(gaussian_filter(change, 1.5)),
        gaussian_gradient_magnitude(after, 1),
        np.sqrt(gaussian_filter(details**2, 2)),
        after,
    ]
    return np.log(np.maximum(np.stack(values), _LEAST)).astype(np.float32)


def slice_change(before: np.ndarray, after: np.ndarray, where: np.ndarray) -> float:
    """The logarithm of the root mean square change of a slice in a mask `where`: how strongly it was restored."""
    change = (np.asarray(after, np.float64) - before)[where]
    return float(np.log(max(np.sqrt(np.mean(change**2)) if change.size else 0.0, _LEAST)))
