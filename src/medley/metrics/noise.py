"""The noise of an image, estimated from its second differences."""

from __future__ import annotations

import numpy as np

_NORM = 6.0  # L2 norm of the operator
_MEDIAN = 0.6745  # of the absolute value of a standard normal variable
_OF_WHITE_NOISE = 0.732  # 10 % quantile of the root mean square of white noise's second differences in 6 x 6 pixels


def second_differences(image: np.ndarray) -> np.ndarray:
    """Second differences along both axes: (rows, columns) -> (rows - 2, columns - 2).

    The operator is zero for planes and for edges along an axis; white noise of standard deviation 1 becomes 6.
    Source: Immerkaer, Comput. Vis. Image Underst. 64 (1996) 300.
    """
    curved = image[:-2] - 2 * image[1:-1] + image[2:]
    return curved[:, :-2] - 2 * curved[:, 1:-1] + curved[:, 2:]


def smooth_noise_level(image: np.ndarray, side: int = 6, quantile: float = 0.1) -> float:
    """Standard deviation of the noise in the smoothest parts of an image (row, column); 0 for a constant image.

    On a coarse grid, such as that of a planning CT, most second differences are anatomy; only homogeneous tissue shows
    the noise. So the root mean square of the second differences is computed in blocks within the foreground, the pixels
    above the mean, and a low quantile of the blocks is taken, divided by its value for white noise.

    Parameters
    ----------
    side: of a block, in pixels. quantile: of the blocks, from 0 to 1.
    """
    energy = second_differences(image) ** 2
    rows, columns = (n // side for n in energy.shape)
    if not (rows and columns):
        return 0.0
    inside = image[1:-1, 1:-1] > image.mean()
    blocks = [
        one[: rows * side, : columns * side].reshape(rows, side, columns, side).mean(axis=(1, 3))
        for one in (energy, inside)
    ]
    found = blocks[0][blocks[1] > 0.9]
    if not found.size:
        found = blocks[0][blocks[1] >= blocks[1].max()]
    return float(np.sqrt(np.quantile(found, quantile)) / _NORM / _OF_WHITE_NOISE)


def noise_levels(image: np.ndarray) -> tuple[float, float]:
    """Two estimates of the standard deviation of the noise of an image, as it is and averaged over 2 x 2 pixels.

    Their ratio tells correlated from white noise (for which it is 2), and a blurred image from a sharp one.
    """
    rows, columns = (side // 2 * 2 for side in image.shape)
    coarse = image[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))
    return smooth_noise_level(image), smooth_noise_level(coarse)


def noise_level(image: np.ndarray) -> float:
    """Standard deviation of white noise in an image (row, column), in its unit; 0 for a constant image.

    The median of the absolute second differences, because edges affect it less than the mean, without those that are
    exactly 0 (padding, a cut-out body). Correlated noise is underestimated.
    """
    response = np.abs(second_differences(image))
    response = response[response > 0]
    return float(np.median(response) / _MEDIAN / _NORM) if response.size else 0.0
