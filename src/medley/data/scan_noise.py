"""The noise of good scans: how strong it is and, in CT, how coarse; and the simulation of CT with the same noise.

The coarseness is the ratio of two estimates of the noise, of slices averaged over 2 x 2 pixels and as they are
(`medley.metrics.noise.noise_levels`). It depends on the reconstruction kernel: the simulated noise of a water
cylinder has 0.8 with the ramp kernel, 2.5 with hann-1.0 and 4.2 with hann-0.7, on every grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from medley.metrics.noise import noise_levels
from medley.physics import create_degradation
from medley.tasks import Task
from medley.volume import Volume

KERNELS = ("ramp", "shepp-logan", "hann-1.0", "hann-0.7")  # from fine to coarse noise
WIDEST_PIXEL = 2.0  # mm; on coarser grids the estimates contain more anatomy than noise
INDICES = 2.0, 100.0  # HU, of scanners; a larger estimate is anatomy
MARGIN = 1.5  # the simulated noise is up to this factor weaker and stronger than that of the scans
_SLICES = 9  # that are measured in a scan
_SIDE, _INDEX = 128, 10.0  # pixels, and HU, of the water cylinder


class ScanNoise(BaseModel):
    """The noise of one scan.

    Attributes
    ----------
    task: of the scan. unit: of its values. pixel_mm: the longer side of a pixel.
    level: standard deviation of the finest noise, in `unit`; the median over a few slices. coarse: the same, averaged
        over 2 x 2 pixels.
    """

    model_config = ConfigDict(frozen=True)

    task: str
    unit: str
    pixel_mm: float
    level: float
    coarse: float

    @property
    def coarseness(self) -> float:
        """coarse / level: 0.5 for white noise, more for correlated noise; NaN without noise."""
        return self.coarse / self.level if self.level > 0 else float("nan")


def measure(volume: Volume, task: Task) -> ScanNoise:
    """The noise of a scan in memory, from nine slices of its middle half."""
    first, count = volume.shape[0] // 4, max(volume.shape[0] // 2, 1)
    chosen = sorted({first + k * count // _SLICES for k in range(_SLICES)})
    level, coarse = np.median([noise_levels(np.asarray(volume.data)[k]) for k in chosen], axis=0)
    pixel = max(volume.spacing[1:])
    return ScanNoise(task=task.name, unit=task.unit, pixel_mm=pixel, level=float(level), coarse=float(coarse))


def ct_simulation(found: Sequence[ScanNoise]) -> dict[str, Any]:
    """Parameters of `medley.physics.ct.LowDoseCT` whose noise at full dose is that of CT scans.

    The kernel of a scan lies between the two of `KERNELS` with the nearest coarseness, and its noise index follows from
    the coarse estimate, interpolated between both on a logarithmic scale.

    Returns
    -------
    {"noise_index": [low, high] in HU, of all scans, within `INDICES`, with a `MARGIN`; "kernel": the names of all
    scans}; {} if no scan has pixels of at most `WIDEST_PIXEL` and noise.
    """
    usable = [one for one in found if one.pixel_mm <= WIDEST_PIXEL and one.level > 0 and one.coarse > 0]
    if not usable:
        return {}
    levels = np.log([_of_kernel(kernel) for kernel in KERNELS])  # (kernel, 2)
    ratios = levels[:, 1] - levels[:, 0]
    indices: list[float] = []
    kernels: list[str] = []
    for one in usable:
        ratio = np.log(one.coarseness)
        index = one.coarse / np.exp(np.interp(ratio, ratios, levels[:, 1]))
        indices.append(float(np.clip(index, *INDICES)))
        k = int(np.clip(np.searchsorted(ratios, ratio), 1, len(KERNELS) - 1))
        kernels += KERNELS[k - 1 : k + 1]
    low, high = min(indices) / MARGIN, max(indices) * MARGIN
    return {"noise_index": [round(low, 1), round(high, 1)], "kernel": kernels}


@lru_cache
def _of_kernel(kernel: str) -> tuple[float, float]:
    """`noise_levels` of a simulated water cylinder, as multiples of the noise index."""
    place = np.mgrid[:_SIDE, :_SIDE] - (_SIDE - 1) / 2
    water = np.where(np.hypot(*place) < 0.4 * _SIDE, 0, -1000).astype(np.float32)
    # At half the dose, as much noise is added as there is at full dose.
    half = create_degradation("ct-low-dose", dose=0.5, noise_index=_INDEX, kernel=kernel, scan_noise="counted")
    noisy = half.apply(np.stack([water] * 4), half.draw(np.random.default_rng(0)), (2.5, 2.5))
    level, coarse = np.median([noise_levels(one) for one in noisy], axis=0) / _INDEX
    return float(level), float(coarse)
