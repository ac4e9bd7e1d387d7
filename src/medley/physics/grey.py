"""Degradations of images in grey levels: X-ray, ultrasound, OCT and the luminance of pathology.

They are those of UniH3 (arXiv 2609.11156, supplement) as far as the paper states them. The result is clipped to the
values that the image can store, 0 to full intensity, as in the 8 bit files of the paper, but not rounded. Before it is
clipped, noise keeps the mean.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image as Picture
from scipy.ndimage import gaussian_filter

from medley.normalisation import full_grey
from medley.physics.base import Degradation, Spacing, Work, noise_generator
from medley.physics.parameters import Limits

FULL_SPECKLE_DB = 10 * math.pi / math.sqrt(6) / math.log(10)  # 5.57: deviation of the log of an exponential variable
_EULER = 0.5772156649015329  # minus the mean of the logarithm of a standard exponential variable


class _Grey(Degradation):
    """A degradation of the intensity I, the value divided by `full`.

    Parameters
    ----------
    full: the value of full intensity; None: 255, or for a scan with larger values the smallest 2^n - 1 that holds them.
        Slices of such a scan that are processed one by one need it.
    """

    _full: ClassVar = {"full": Limits(None, 0, optional=True, implied=True)}

    def _measure(self, slices: Iterable[np.ndarray], parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        if parameters["full"] is not None:
            return parameters
        return {**parameters, "full": full_grey(max((float(np.max(one)) for one in slices), default=0.0))}

    def _degrade(
        self, slices: torch.Tensor, first: int, parameters: Mapping[str, Any], spacing: Spacing
    ) -> torch.Tensor:
        if all(parameters[name] == value for name, value in self.none.items()):
            return slices
        worse = torch.empty_like(slices)
        for k, one in enumerate(slices):
            intensity = one.double().numpy() / parameters["full"]
            values = self.worsened(intensity, parameters, noise_generator(parameters, first + k))
            worse[k] = torch.from_numpy(values.clip(0, 1) * parameters["full"])
        return worse

    @abstractmethod
    def worsened(self, intensity: np.ndarray, parameters: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        """(row, column) float64 in units of full intensity -> the same degraded, before it is clipped."""


class LowDoseXray(_Grey):
    """Quantum noise of a radiograph: Poisson(photons · I) / photons. Mean I, variance I / photons.

    Negative values count as 0. UniH3: photons = 30.

    Parameters
    ----------
    photons: number of photons of a pixel of full intensity; a range is drawn from on a logarithmic scale. None: no
        noise.
    full: see above.
    """

    name = "xray-low-dose"
    modality = "DX"
    strength_name = "photons at full intensity"
    strength_of_none = math.inf
    limits: ClassVar = {"photons": Limits(30.0, 0, 1e9, optional=True, logarithmic=True), **_Grey._full}
    none: ClassVar = {"photons": None}

    @classmethod
    def strength(cls, parameters: Mapping[str, Any]) -> float:
        """The photons of a pixel of full intensity; inf without noise."""
        photons = cls.complete(parameters)["photons"]
        return math.inf if photons is None else float(photons)

    def worsened(self, intensity: np.ndarray, parameters: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        """A Poisson draw for each pixel."""
        return rng.poisson(parameters["photons"] * intensity.clip(min=0)) / parameters["photons"]


class SpeckledUltrasound(_Grey):
    """Speckle of a log-compressed ultrasound image: I + sqrt(I) · e, e normal. Mean I, variance std² · I.

    The model is that of Loupas, McDicken and Allan, IEEE Trans. Circuits Syst. 36 (1989) 129, and of UniH3, which does
    not state the standard deviation of e. Negative values count as 0 in the square root.

    Parameters
    ----------
    std: standard deviation of e. The default, 0.2, is our choice; the noise is then about that of X-ray with 30
        photons, whose standard deviation is 0.18 sqrt(I).
    full: see above.
    """

    name = "us-speckle"
    modality = "US"
    strength_name = "standard deviation of the noise at full intensity"
    strength_parameter = "std"
    strength_of_none = 0.0
    limits: ClassVar = {"std": Limits(0.2, 0, 10, closed=True), **_Grey._full}
    none: ClassVar = {"std": 0.0}

    def worsened(self, intensity: np.ndarray, parameters: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        """Normal noise in proportion to the square root of the intensity."""
        noise = rng.standard_normal(intensity.shape) * parameters["std"]
        return intensity + np.sqrt(intensity.clip(min=0)) * noise


class SpeckledOCT(_Grey):
    """Speckle of an OCT image, whose grey levels are the logarithm of the intensity.

    Speckle multiplies the intensity by E, which has an exponential distribution where the speckle is fully developed;
    in the logarithm it is therefore added. y = I + speckle_db / range_db · g, with g = (ln E - mean) / deviation: mean
    I, standard deviation speckle_db / range_db everywhere, a longer tail to the dark side.

    UniH3 uses measured data instead: one of five scans of the same place, and the mean of the five, which still has
    noise and contains that scan. Here the target is the given image, and its noise is not in the degraded image twice.
    For measured speckle see `AveragedOCT`.

    Parameters
    ----------
    speckle_db: standard deviation of the logarithm of the intensity. 5.57 dB is fully developed speckle, of one scan;
        the average of n independent scans in grey levels has 5.57 / sqrt(n).
    range_db: the range of intensities that 0 to full intensity shows; files do not state it. 50 dB is our choice.
    grain: full width at half maximum of the point-spread function, in pixels, which determines the size of a speckle;
        0: pixels are independent.
    full: see above.
    """

    name = "oct-speckle"
    modality = "OPT"
    strength_name = "speckle (dB)"
    strength_parameter = "speckle_db"
    strength_of_none = 0.0
    limits: ClassVar = {
        "speckle_db": Limits(FULL_SPECKLE_DB, 0, FULL_SPECKLE_DB, closed=True),
        "range_db": Limits(50.0, 0, 1000),
        "grain": Limits(0.0, 0, 100, closed=True),
        **_Grey._full,
    }
    none: ClassVar = {"speckle_db": 0.0}

    def worsened(self, intensity: np.ndarray, parameters: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        """Speckle added to the logarithm."""
        field = rng.standard_normal((2, *intensity.shape))
        if parameters["grain"]:
            field = _smooth_field(field, parameters["grain"] / math.sqrt(8 * math.log(2)))
        exponential = np.maximum((field**2).sum(0) / 2, np.finfo(np.float64).tiny)
        speckle = (np.log(exponential) + _EULER) / (math.pi / math.sqrt(6))
        return intensity + parameters["speckle_db"] / parameters["range_db"] * speckle


class AveragedOCT(Degradation):
    """One A-scan against the mean of neighbours: the given scan is the degraded one, `reference` the average.

    For B-scans that are strongly oversampled, so that columns `step` apart have independent speckle and nearly the same
    tissue. As in UniH3 the mean contains the scan itself; there the five scans are repeated at one place. Beyond the
    edges the first and the last column are repeated.

    Parameters
    ----------
    scans: number of columns in the mean. step: distance in pixels between them.
    """

    name = "oct-average"
    modality = "OPT"
    strength_name = "scans in the reference"
    strength_parameter = "scans"
    limits: ClassVar = {
        "scans": Limits(5, 1, 99, closed=True, whole=True),
        "step": Limits(8, 1, 1000, closed=True, whole=True),
    }
    none: ClassVar = {"scans": 1}

    def _reference_work(self, parameters: Mapping[str, Any]) -> Work | None:
        return _mean_of_columns

    def _degrade(
        self, slices: torch.Tensor, first: int, parameters: Mapping[str, Any], spacing: Spacing
    ) -> torch.Tensor:
        return slices


class LowResolutionPathology(_Grey):
    """Fewer pixels: bicubic to 1/factor along both axes, with antialiasing, and bicubic back. Linear; no noise.

    Of the luminance of a tile (`medley.io.pictures`). UniH3: factor 4. A reduced side is rounded to whole pixels.

    Parameters
    ----------
    factor: of the side of a pixel; at 1 nothing is changed.
    full: see above.
    """

    name = "path-low-resolution"
    modality = "SM"
    strength_name = "factor of the pixel size"
    strength_parameter = "factor"
    limits: ClassVar = {"factor": Limits(4.0, 1, 64, closed=True), **_Grey._full}
    none: ClassVar = {"factor": 1.0}

    def worsened(self, intensity: np.ndarray, parameters: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        """On a grid with 1/factor of the rows and columns, and back; `rng` is not used."""
        rows, columns = intensity.shape
        small = (max(1, round(columns / parameters["factor"])), max(1, round(rows / parameters["factor"])))
        return _resized(_resized(intensity.astype(np.float32), small), (columns, rows))


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(row, column) float32 -> size (columns, rows), bicubic (a = -0.5) with antialiasing."""
    return np.asarray(Picture.fromarray(image).resize(size, Picture.Resampling.BICUBIC))


def _smooth_field(field: np.ndarray, sigma: float) -> np.ndarray:
    """White noise (2, row, column) convolved with a Gaussian, periodically, with its variance kept at 1."""
    impulse = np.zeros(field.shape[1:])
    impulse[0, 0] = 1
    energy = (gaussian_filter(impulse, sigma, mode="wrap") ** 2).sum()
    return gaussian_filter(field, (0, sigma, sigma), mode="wrap") / math.sqrt(energy)


def _mean_of_columns(slices: torch.Tensor, first: int, parameters: Mapping[str, Any], spacing: Spacing) -> torch.Tensor:
    """The mean over `scans` columns that are `step` apart, about each column."""
    scans, step = parameters["scans"], parameters["step"]
    if scans == 1:
        return slices
    columns = torch.arange(slices.shape[2])
    total = torch.zeros_like(slices)
    for k in range(scans):
        total += slices[:, :, (columns + (k - scans // 2) * step).clamp(0, slices.shape[2] - 1)]
    return total / scans
