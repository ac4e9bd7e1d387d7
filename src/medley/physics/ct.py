"""Low-dose CT: the noise of fewer photons, put into the projections of a scan."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain, repeat
from typing import Any, ClassVar

import numpy as np
import torch

from medley.errors import MedleyError
from medley.physics.base import Degradation, Spacing, Work, noise_generator
from medley.physics.kernels import KERNELS, is_kernel
from medley.physics.parameters import Limits, Names, either
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
    Gaussian electronic noise, and the logarithm gives noisy line integrals. Filtered back-projection is linear, so only
    the noise is reconstructed and added to the slice,

        low dose = image + FBP(p_noisy - p_clean)   in HU,

    which preserves the resolution, beam hardening and artefacts of the scan; the scan itself is the target.
    Counts are at least one, also in p_clean: rays with fewer photons carry no information.

    The number of views over half a turn is pi/2 times the longer side of the grid in pixels, at most 600; the distance
    of rays is the smaller pixel side. Voxels below -1024 HU are padding and unchanged; no other voxel falls below it.

    Parameters
    ----------
    dose: fraction of the full dose, in (0, 1]; a range is drawn from on a logarithmic scale.
    photons: photons per ray of the full-dose scan before the patient, for a fixed tube current. By default the current
        follows the patient, as with automatic exposure control: the photons of each slice keep its noise at full dose
        below `noise_index` even where all rays are as thick as the thickest of their view. A coarse grid then gets
        fewer photons than a fine one, and the noise in HU is similar.
    noise_index: standard deviation in HU at full dose with the ramp kernel; 22 if neither this nor `photons` is given.
    electronic: standard deviation of the detector's electronic noise, in photons.
    kernel: of the filtered back-projection of the noise: ramp, shepp-logan or hann-CUTOFF (see `kernels`). The photons
        do not depend on it, so a smoother kernel gives less noise, as on a scanner.
    slice_mm: every slice is replaced by the average over a slab of this thickness around it, in the degraded scan and
        in the target alike; the slab ends at the first and the last slice. None, or less than the distance of slices,
        leaves slices as they are. An array then needs its spacing (slice_mm, row_mm, column_mm), and is a whole scan.
    scan_noise: whether the scan's own noise counts as the noise of the full dose.
        counted: only the missing part is added, with a variance proportional to 1/dose - 1, so that the variance of
            the result is proportional to 1/dose and at dose 1 nothing is added (Yu et al., J. Comput. Assist. Tomogr.
            36 (2012) 477). The logarithm is linearised, sqrt(1 - dose) * (expected - counted) / expected, which
            preserves the mean at every dose, as scanners' corrections for few photons do.
        ignored: the noise of the whole dose is added, with a variance proportional to 1/dose. The logarithm of few
            photons has a bias: at a twentieth of the dose, water becomes a few HU brighter.
        By default ignored for a single dose below 1, as in the papers' protocol; counted for dose 1 and for a range,
        whose noise then vanishes towards dose 1.
    """

    name = "ct-low-dose"
    modality = "CT"
    strength_name = "dose"
    strength_parameter = "dose"
    limits: ClassVar = {
        "dose": Limits(0.25, 0, 1, logarithmic=True),
        "photons": Limits(None, 0, MOST_PHOTONS, optional=True, logarithmic=True),
        "noise_index": Limits(None, 0, 1000, optional=True),
        "electronic": Limits(3.0, 0, 1e6, closed=True),
        "kernel": Names("ramp", KERNELS, is_kernel, implied=True),
        "slice_mm": Limits(None, 0, 1000, optional=True, implied=True),
        "scan_noise": either("ignored", "counted", implied=True),
    }
    none: ClassVar = {"dose": 1.0, "scan_noise": "counted"}

    def __init__(self, **parameters: Any) -> None:
        if parameters.get("photons") is None and parameters.get("noise_index") is None:
            parameters["noise_index"] = NOISE_INDEX
        dose = parameters.get("dose")
        if "scan_noise" not in parameters and (isinstance(dose, list | tuple) or dose == 1):
            parameters["scan_noise"] = "counted"
        super().__init__(**parameters)

    def _reference_work(self, parameters: Mapping[str, Any]) -> Work | None:
        """With `slice_mm`, slices are averaged like the degraded ones (`_combine`)."""
        return None if self.complete(parameters)["slice_mm"] is None else lambda slices, *_: slices

    @classmethod
    def _check_together(cls, parameters: Mapping[str, Any]) -> None:
        if (parameters["photons"] is None) == (parameters["noise_index"] is None):
            raise MedleyError(
                f"{cls.name} takes photons (a fixed tube current) or noise_index, not both; give one of the two"
            )

    def _degrade(
        self, slices: torch.Tensor, first: int, parameters: Mapping[str, Any], spacing: Spacing
    ) -> torch.Tensor:
        counted = parameters["scan_noise"] == "counted"
        if counted and parameters["dose"] == 1:
            return slices
        beam = _beam((slices.shape[1], slices.shape[2]), spacing)
        attenuation = WATER_PER_MM * (1 + slices / 1000).clamp(min=0)
        lines = beam.project(attenuation)
        for k, one in enumerate(lines.numpy()):  # slice by slice, since each has its own random generator
            photons = parameters["photons"] or _exposure(one, beam, parameters["noise_index"])
            rng = noise_generator(parameters, first + k)
            one[...] = _noise(one, parameters["dose"] * photons, parameters["electronic"], rng, linear=counted)
        noise = beam.filtered_back_projection(lines, parameters["kernel"]) * (1000 / WATER_PER_MM)
        if counted:
            noise *= math.sqrt(1 - parameters["dose"])
        return torch.where(slices < LOWEST_HU, slices, (slices + noise).clamp(min=LOWEST_HU))

    def _combine(
        self, slices: Iterator[np.ndarray], parameters: Mapping[str, Any], slice_mm: float | None
    ) -> Iterator[np.ndarray]:
        if parameters["slice_mm"] is None:
            return slices
        if slice_mm is None:
            raise TypeError("slice_mm needs the spacing (slice_mm, row_mm, column_mm) of an array")
        return thicker(slices, parameters["slice_mm"] / slice_mm) if slice_mm > 0 else slices


def thicker(slices: Iterator[np.ndarray], slab: float) -> Iterator[np.ndarray]:
    """Each slice replaced by the average over a slab around it, with the memory of one slab.

    Parameters
    ----------
    slices: (row, column) float32, contiguous slices of equal thickness.
    slab: thickness of the slab in slices; 1 and less leave the slices as they are. A slice that is partly in the slab
        has the weight of that part. Where the slab reaches beyond the scan, the average is over the part inside.
    """
    reach = max(0, math.ceil((slab - 1) / 2))
    if reach == 0:
        yield from slices
        return
    weights = [min(1.0, slab / 2 - abs(k) + 0.5) for k in range(-reach, reach + 1)]
    window: deque[np.ndarray | None] = deque([None] * reach, maxlen=2 * reach + 1)
    for one in chain(slices, repeat(None, reach)):
        window.append(one)
        if len(window) > 2 * reach:
            inside = [(weight, near) for weight, near in zip(weights, window, strict=True) if near is not None]
            kept, near = zip(*inside, strict=True)
            yield np.average(np.stack(near).astype(np.float64), axis=0, weights=kept).astype(np.float32)


@lru_cache(maxsize=2)
def _beam(shape: tuple[int, int], spacing: Spacing) -> ParallelBeam:
    return ParallelBeam(shape, spacing, half_turn(min(MOST_VIEWS, math.ceil(math.pi / 2 * max(shape)))))


def _exposure(lines: np.ndarray, beam: ParallelBeam, noise_index: float) -> float:
    """Photons per ray of a full-dose scan, before the patient, for line integrals (views, bins) of one slice."""
    thickest = lines.max(axis=1).astype(np.float64)
    std = noise_index / 1000 * WATER_PER_MM
    counted = _RAMP_POWER / (len(lines) * beam.bin_mm**2 * std**2)
    return min(counted * float(np.exp(thickest).mean()), MOST_PHOTONS)


def _noise(lines: np.ndarray, photons: float, electronic: float, rng: np.random.Generator, linear: bool) -> np.ndarray:
    """Noise of line integrals (views, bins), for a number of photons per ray before the patient.

    With `linear`, the logarithm is replaced by its first order, so that the mean is 0 also for few photons. Rays with
    fewer than twice the electronic noise carry no information; their noise is limited to that of such a ray.
    """
    expected = photons * np.exp(-lines.astype(np.float64))
    counted = rng.poisson(expected) + electronic * rng.standard_normal(lines.shape)
    if linear:
        return (expected - counted) / np.maximum(expected, max(FEWEST_COUNTED, 2 * electronic))
    return np.log(np.maximum(expected, FEWEST_COUNTED) / np.maximum(counted, FEWEST_COUNTED))
