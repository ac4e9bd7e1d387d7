"""Noise power spectra of images, in the squared unit of the image times mm^2.

Source: Siewerdsen, Cunningham and Jaffray, "A framework for noise-power spectrum analysis of multidimensional images",
Med. Phys. 29 (2002) 2655.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medley.errors import MedleyError


class NoisePower(NamedTuple):
    """A two-dimensional noise power spectrum.

    Attributes
    ----------
    power: (row frequency, column frequency), in the squared unit of the image times mm^2, zero frequency first.
    rows, columns: the frequencies along both axes, in 1/mm.
    """

    power: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    @property
    def variance(self) -> float:
        """The integral of the spectrum over all frequencies, in the squared unit of the image."""
        return float(self.power.sum() * abs(self.rows[1] * self.columns[1]))

    def radial(self, bins: int = 24) -> tuple[np.ndarray, np.ndarray]:
        """(frequencies in 1/mm, power): means over rings from 0 to the lower of both Nyquist frequencies.

        The zero frequency is left out, because the mean of each region is subtracted. Empty rings are left out.
        """
        radius = np.hypot(self.rows[:, None], self.columns)
        limit = min(np.abs(self.rows).max(), np.abs(self.columns).max())
        ring = np.minimum((radius / limit * bins).astype(int), bins)  # everything beyond the limit in the last one
        ring[0, 0] = bins
        counts, sums, centres = (
            np.bincount(ring.ravel(), weights, bins + 1)[:bins]
            for weights in (None, self.power.ravel(), radius.ravel())
        )
        there = counts > 0
        return centres[there] / counts[there], sums[there] / counts[there]


def noise_power(regions: np.ndarray, spacing: Sequence[float], *, repeated: bool = False) -> NoisePower:
    """The noise power spectrum of homogeneous regions, or of repeated realisations of one region.

    Parameters
    ----------
    regions: (region, row, column), all of one size.
    spacing: mm along (row, column).
    repeated: the regions are realisations of the same object: the mean over them is subtracted from each, and the
        spectrum is multiplied by n / (n - 1). Otherwise the mean of each region is subtracted from it.

    Raises
    ------
    MedleyError: fewer than two realisations, or an empty array.
    """
    values = np.asarray(regions, np.float64)
    if values.ndim != 3 or min(values.shape[1:]) < 2 or len(values) < 1 + repeated:
        needed = "two realisations" if repeated else "one region"
        raise MedleyError(
            f"a noise power spectrum needs (region, row, column) with at least {needed} of 2 x 2 pixels, "
            f"not an array of shape {values.shape}"
        )
    mean = values.mean(axis=0 if repeated else (1, 2), keepdims=True)
    factor = len(values) / (len(values) - 1) if repeated else 1.0
    rows, columns = values.shape[1:]
    scale = factor * spacing[0] * spacing[1] / (rows * columns)
    power = scale * (np.abs(np.fft.fft2(values - mean)) ** 2).mean(axis=0)
    return NoisePower(power, np.fft.fftfreq(rows, spacing[0]), np.fft.fftfreq(columns, spacing[1]))
