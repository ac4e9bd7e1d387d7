"""Low-dose CT: the noise of fewer photons, put into the projections of a scan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch

from medley.errors import MedleyError
from medley.physics.base import Degradation, Limits, Spacing, noise_generator
from medley.physics.radon import ParallelBeam, half_turn

WATER_PER_MM = 0.0192  # attenuation of water at about 70 keV, the mean energy of a 120 kVp beam
LOWEST_HU = -1024.0  # scanners store lower values as this
MOST_PHOTONS = 1e12  # per ray
FEWEST_COUNTED = 1.0  # photons; the logarithm must be finite
MOST_VIEWS = 600  # over half a turn; scanners take about a thousand over a full turn
NOISE_INDEX = 22.0  # HU

# Variance of a pixel of the filtered back-projection in units of (variance of a ray) / (views * bin^2): pi^2 times the
# power of the sampled ramp, 1/12, and its covariance between neighbouring bins, -1/(2 pi^2), averaged over the weights
# of the linear interpolation, 2/3 and 1/3.
_RAMP_POWER = math.pi**2 * (2 / 3 / 12 - 1 / 3 / (2 * math.pi**2))


class LowDoseCT(Degradation):
    """A CT scan simulated at a fraction of its dose.

    The slice is projected (parallel beam), the detector counts Poisson(dose * photons * exp(-p)) photons per ray plus
    Gaussian electronic noise, and the logarithm gives noisy line integrals. Filtered back-projection (pure ramp) is
    linear, so only the noise is reconstructed and added to the slice,

        low dose = image + FBP(p_noisy - p_clean)   in HU,

    which preserves the resolution, beam hardening and artefacts of the scan; the scan itself is the target. Its own
    noise is not subtracted. Counts are at least one, also in p_clean: rays with fewer photons carry no information.

    The number of views over half a turn is pi/2 times the longer side of the grid in pixels, at most 600; the distance
    of rays is the smaller pixel side. Voxels below -1024 HU are padding and unchanged; no other voxel falls below it.

    Parameters
    ----------
    dose: fraction of the full dose, in (0, 1].
    photons: photons per ray of the full-dose scan before the patient, for a fixed tube current. By default the current
        follows the patient, as with automatic exposure control: the photons of each slice keep its noise at full dose
        below `noise_index` even where all rays are as thick as the thickest of their view. A coarse grid then gets
        fewer photons than a fine one, and the noise in HU is similar.
    noise_index: standard deviation in HU at full dose; 22 when neither this nor `photons` is given.
    electronic: standard deviation of the detector's electronic noise, in photons.
    """

    name = "ct-low-dose"
    modality = "CT"
    limits: ClassVar = {
        "dose": Limits(0.25, 0, 1),
        "photons": Limits(None, 0, MOST_PHOTONS, optional=True),
        "noise_index": Limits(None, 0, 1000, optional=True),
        "electronic": Limits(3.0, 0, 1e6, closed=True),
    }

    def __init__(self, **parameters: Any) -> None:
        if parameters.get("photons") is None and parameters.get("noise_index") is None:
            parameters["noise_index"] = NOISE_INDEX
        super().__init__(**parameters)

    def _check_together(self, parameters: Mapping[str, Any]) -> None:
        if (parameters["photons"] is None) == (parameters["noise_index"] is None):
            raise MedleyError(
                f"{self.name} takes photons (a fixed tube current) or noise_index, not both; give one of the two"
            )

    def _degrade(
        self, slices: torch.Tensor, first: int, parameters: Mapping[str, Any], spacing: Spacing
    ) -> torch.Tensor:
        beam = _beam((slices.shape[1], slices.shape[2]), spacing)
        attenuation = WATER_PER_MM * (1 + slices / 1000).clamp(min=0)
        lines = beam.project(attenuation)
        for k, one in enumerate(lines.numpy()):  # slice by slice, since each has its own random generator
            photons = parameters["photons"] or _exposure(one, beam, parameters["noise_index"])
            rng = noise_generator(parameters, first + k)
            one[...] = _noise(one, parameters["dose"] * photons, parameters["electronic"], rng)
        noise = beam.filtered_back_projection(lines) * (1000 / WATER_PER_MM)
        return torch.where(slices < LOWEST_HU, slices, (slices + noise).clamp(min=LOWEST_HU))


@lru_cache(maxsize=2)
def _beam(shape: tuple[int, int], spacing: Spacing) -> ParallelBeam:
    return ParallelBeam(shape, spacing, half_turn(min(MOST_VIEWS, math.ceil(math.pi / 2 * max(shape)))))


def _exposure(lines: np.ndarray, beam: ParallelBeam, noise_index: float) -> float:
    """Photons per ray of a full-dose scan, before the patient, for line integrals (views, bins) of one slice."""
    thickest = lines.max(axis=1).astype(np.float64)
    std = noise_index / 1000 * WATER_PER_MM
    counted = _RAMP_POWER / (len(lines) * beam.bin_mm**2 * std**2)
    return min(counted * float(np.exp(thickest).mean()), MOST_PHOTONS)


def _noise(lines: np.ndarray, photons: float, electronic: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of line integrals (views, bins), for a number of photons per ray before the patient."""
    expected = photons * np.exp(-lines.astype(np.float64))
    counted = rng.poisson(expected) + electronic * rng.standard_normal(lines.shape)
    return np.log(np.maximum(expected, FEWEST_COUNTED) / np.maximum(counted, FEWEST_COUNTED))
