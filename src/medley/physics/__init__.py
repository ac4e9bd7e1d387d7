"""Simulated degradations of good scans: low-dose CT, truncated MR, low-count PET, noisy and coarse grey images."""

from __future__ import annotations

from typing import Any

from medley.physics.base import Degradation
from medley.physics.ct import LowDoseCT
from medley.physics.grey import AveragedOCT, LowDoseXray, LowResolutionPathology, SpeckledOCT, SpeckledUltrasound
from medley.physics.mr import TruncatedMR
from medley.physics.pet import LowCountPET
from medley.runtime.registry import Registry

_KINDS: tuple[type[Degradation], ...] = (
    TruncatedMR,
    LowDoseCT,
    LowCountPET,
    LowDoseXray,
    SpeckledUltrasound,
    SpeckledOCT,
    AveragedOCT,
    LowResolutionPathology,
)
DEGRADATIONS: Registry[type[Degradation]] = Registry(
    "degradation",
    "a subclass of Degradation",
    lambda entry: isinstance(entry, type) and issubclass(entry, Degradation),
    {kind.name: kind for kind in _KINDS},
)

__all__ = [
    "DEGRADATIONS",
    "AveragedOCT",
    "Degradation",
    "LowCountPET",
    "LowDoseCT",
    "LowDoseXray",
    "LowResolutionPathology",
    "SpeckledOCT",
    "SpeckledUltrasound",
    "TruncatedMR",
    "create_degradation",
]


def create_degradation(name: str, **parameters: Any) -> Degradation:
    """The degradation of that name. Parameters have defaults; from ranges and lists of names, values are drawn.

    Raises
    ------
    MedleyError: no such degradation, no such parameter, or a value out of its range.
    """
    return DEGRADATIONS.named(name)(**parameters)
