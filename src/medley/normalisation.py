"""The scaling of physical values to the range of a network, [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Normalisation:
    """The linear scaling of values in a physical unit to [0, 1] and back; for numbers, arrays and tensors.

    Attributes
    ----------
    low, high: the values that become 0 and 1.
    clip: whether `apply` clips to [0, 1]. It does not where the range was estimated from the scan itself: the 0.1 %
        brightest voxels of an MR scan lie above 1, and clipping would flatten them.
    """

    low: float
    high: float
    clip: bool = True

    def apply(self, values: Any) -> Any:
        """Values in the physical unit -> [0, 1]."""
        unit = (values - self.low) / (self.high - self.low)
        return unit.clip(0, 1) if self.clip else unit

    def undo(self, values: Any) -> Any:
        """[0, 1] -> values in the physical unit."""
        return values * (self.high - self.low) + self.low
