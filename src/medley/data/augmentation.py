"""Augmentation: random rotation, scaling and change of intensity of training samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from medley.targets import Plain


@dataclass(frozen=True)
class Change:
    """A drawn augmentation of one sample.

    Attributes
    ----------
    angle: rotation in the plane of rows and columns, in radians: clockwise in a picture with rows from top
        to bottom.
    scale: magnification in that plane.
    gain, offset: the normalised input x becomes gain · x + offset.
    """

    angle: float = 0.0
    scale: float = 1.0
    gain: float = 1.0
    offset: float = 0.0


class Augmentation(Plain):
    """Limits of random changes; each is drawn uniformly. The default is no change.

    Attributes
    ----------
    rotation: largest rotation in the plane of the slice, in degrees, to both sides.
    scaling: largest relative change of size in that plane: 0.1 for factors of 0.9 to 1.1.
    intensity: largest relative change of the input's contrast, and largest offset, in the range of the network.
    """

    rotation: float = Field(0.0, ge=0, le=180)
    scaling: float = Field(0.0, ge=0, lt=1)
    intensity: float = Field(0.0, ge=0, lt=1)

    def draw(self, rng: np.random.Generator) -> Change | None:
        """The change of one sample; None if all limits are 0."""
        if not (self.rotation or self.scaling or self.intensity):
            return None
        angle, scale, gain, offset = rng.uniform(-1, 1, 4).tolist()
        return Change(
            angle=math.radians(self.rotation) * angle,
            scale=1 + self.scaling * scale,
            gain=1 + self.intensity * gain,
            offset=self.intensity * offset,
        )


def warped(array: np.ndarray, change: Change) -> np.ndarray:
    """An array (channels, *spatial) rotated and magnified about the centre of its rows and columns, of the same type.

    Floating-point values are interpolated linearly, with zeros beyond the border. Masks (uint8 or bool) contain what
    is more than half covered.
    """
    if change.angle == 0 and change.scale == 1:
        return array
    rows, columns = array.shape[-2:]
    planes = torch.from_numpy(np.ascontiguousarray(array, np.float32)).view(1, -1, rows, columns)
    cos, sin = math.cos(change.angle) / change.scale, math.sin(change.angle) / change.scale
    # Of normalised coordinates (x, y) in [-1, 1], from the output to the input.
    theta = torch.tensor([[[cos, sin * rows / columns, 0.0], [-sin * columns / rows, cos, 0.0]]])
    grid = F.affine_grid(theta, [1, 1, rows, columns], align_corners=False)
    moved = F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    values = moved.view(array.shape).numpy()
    return values if array.dtype.kind == "f" else (values > 0.5).astype(array.dtype)


def changed_intensity(image: np.ndarray, change: Change, *, clip: bool) -> np.ndarray:
    """A normalised input with another contrast and offset; values are clipped to [0, 1] if its normalisation clips."""
    values = change.gain * image + change.offset
    return (values.clip(0, 1) if clip else values).astype(np.float32)
