"""The noise of an image, estimated from its second differences."""

from __future__ import annotations

import numpy as np

_NORM = 6.0  # L2 norm of the operator
_MEDIAN = 0.6745  # of the absolute value of a standard normal variable


def second_differences(image: np.ndarray) -> np.ndarray:
    """Second differences along both axes: (rows, columns) -> (rows - 2, columns - 2).

    The operator is zero for planes and for edges along an axis; white noise of standard deviation 1 becomes 6.
    Source: Immerkaer, Comput. Vis. Image Underst. 64 (1996) 300.
    """
    curved = image[:-2] - 2 * image[1:-1] + image[2:]
    return curved[:, :-2] - 2 * curved[:, 1:-1] + curved[:, 2:]


def noise_level(image: np.ndarray, within: np.ndarray | None = None) -> float:
    """Standard deviation of white noise in an image (row, column), in its unit; 0 for a constant image.

    The median of the absolute second differences, because edges affect it less than the mean. Correlated noise is
    underestimated.

    Parameters
    ----------
    within: mask of the image, where to estimate. By default everywhere but where the second difference is exactly 0
        (padding, a cut-out body).
    """
    response = np.abs(second_differences(image))
    response = response[response > 0 if within is None else within[1:-1, 1:-1]]
    return float(np.median(response) / _MEDIAN / _NORM) if response.size else 0.0
