"""The scaling of physical values to the range of a network, [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


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

    def compress(self, values: np.ndarray) -> np.ndarray:
        """As `apply`, but values above the range are compressed instead of clipped: a scaled v > 1 becomes 1 + ln v.

        So a network can restore hot spots and metal like their neighbours. Values below the range are clipped if `clip`
        is set.
        """
        unit = np.asarray(values, np.float32) - np.float32(self.low)
        unit /= np.float32(self.high - self.low)
        above = unit > 1
        unit[above] = 1 + np.log(unit[above])
        return np.maximum(unit, 0, out=unit) if self.clip else unit

    def expand(self, values: np.ndarray) -> np.ndarray:
        """Compressed values -> values in the physical unit; the inverse of `compress`."""
        return self.undo(np.where(values > 1, np.exp(np.minimum(values, _LARGEST) - 1), values))


def full_grey(largest: float) -> float:
    """The value of white in an image whose largest value is given: 255, or the smallest 2^n - 1 that holds it."""
    return 2.0 ** math.ceil(math.log2(largest + 1)) - 1 if 255 < largest < math.inf else 255.0


_LARGEST = 20.0  # compressed; e^19 times the range, far above any scan
