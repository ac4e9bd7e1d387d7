"""The noise of an image.

`FlatBlocks` and `region_noise` measure the standard deviation of noise, also of correlated noise: this is what medley
reports, and what `restore --strength auto` and `--target-noise` go by (`medley.inference.noise`). The other functions
measure the finest noise only, from second differences: features for networks and parameters of classical methods.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage

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


class FlatBlocks:
    """The flattest blocks of an image (row, column): where the standard deviation of its noise is measured.

    The image is cut into square blocks. Among those whose mean lies between two values and which are not constant, the
    flattest tenth is chosen: where the image, smoothed with a Gaussian of a quarter of a block, varies least. So the
    choice depends little on fine noise. In each block the noise is the deviation from a plane.

    It is the standard deviation of a region of interest as physicists measure it, found automatically, as in
    Christianson et al., "Automated technique to measure noise in clinical CT examinations", AJR 205 (2015) W93, with a
    choice of blocks in place of the mode of all. White noise is found without bias. Of correlated noise, the waves
    that are longer than a block are lost; docs/trust.md states how much.

    Parameters
    ----------
    low, high: limits of the mean of a block, in the unit of the image.
    side: of a block in pixels.
    relative: divide by the mean of each block. For noise that grows with the signal, as in PET.

    Attributes
    ----------
    count: the number of chosen blocks; 0 if no block is within the limits.
    """

    def __init__(
        self,
        image: np.ndarray,
        low: float = -np.inf,
        high: float = np.inf,
        side: int = 7,
        *,
        relative: bool = False,
    ) -> None:
        self._side = side
        blocks = _cut(image, side)
        mean = blocks.mean(axis=1)
        inside = np.flatnonzero((mean > low) & (mean < high) & (np.ptp(blocks, axis=1) > 0))
        smooth = _cut(ndimage.gaussian_filter(np.asarray(image, np.float32), side / 4), side)[inside]
        scale = mean[inside] if relative else np.ones(len(inside))
        slope = np.ptp(smooth, axis=1) / scale
        flattest = np.argsort(slope, kind="stable")[: -(-len(inside) // 10)]
        self._chosen, self._scale = inside[flattest], scale[flattest]
        self.count = len(flattest)
        self._freedom = side**2 - 3  # a plane has three parameters

    def covariance(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """The covariance of the noise of two images in every chosen block, (block,) float64.

        The variance if both are the same image. In the squared unit, or without unit if `relative`.
        """
        deviations = [self._deviations(image) for image in ([one] if one is other else [one, other])]
        return (deviations[0] * deviations[-1]).sum(axis=1) / self._freedom / self._scale**2

    @property
    def median(self) -> float:
        """The median of the variance of white noise of variance 1 over the blocks: a little below 1.

        Source: the approximation of the quantiles of the chi-square distribution by Wilson and Hilferty, 1931.
        """
        return (1 - 2 / (9 * self._freedom)) ** 3

    def _deviations(self, image: np.ndarray) -> np.ndarray:
        blocks = _cut(image, self._side)[self._chosen].astype(np.float64)
        plane = _plane(self._side)
        return blocks - (blocks @ plane) @ plane.T


def region_noise(image: np.ndarray, blocks: FlatBlocks | None = None) -> float:
    """Standard deviation of the noise of an image (row, column), in its unit; NaN without any block.

    It is the root of the median variance in flat blocks, those of the image unless others are given, over the same for
    white noise of 1.
    """
    blocks = blocks or FlatBlocks(image)
    found = blocks.covariance(image, image)
    return float(np.sqrt(np.median(found) / blocks.median)) if found.size else float("nan")


def _cut(image: np.ndarray, side: int) -> np.ndarray:
    """(row, column) -> (block, pixel); pixels beyond whole blocks are left out."""
    rows, columns = (length // side for length in image.shape)
    whole = image[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return whole.swapaxes(1, 2).reshape(rows * columns, side * side)


@lru_cache
def _plane(side: int) -> np.ndarray:
    """Orthonormal planes on a block: (pixel, 3)."""
    place = np.arange(side) - (side - 1) / 2
    rows, columns = np.meshgrid(place, place, indexing="ij")
    planes = np.stack([np.ones(side**2), rows.ravel(), columns.ravel()], axis=1)
    return planes / np.linalg.norm(planes, axis=0)
