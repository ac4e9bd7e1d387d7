"""Targets: what a network computes from a scan, as plain data, and how its outputs become physical values."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from medley.normalisation import Normalisation

IMAGE = "image"  # name of the target of restoration


class Plain(BaseModel):
    """Base class of plain data: unknown fields are errors, and values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(Plain):
    """One output of a network.

    Attributes
    ----------
    name: "image", "dose", "segmentation", "diagnosis", "severity" ...
    kind: "image", the input without its degradation, in the unit of the input; "structures", one mask for each of
        `names`, which may overlap; "map", one value for each voxel; "classes", one of `names` for the whole scan.
    names: of the structures or classes, in the order of the network's output channels; () for images and maps.
    unit: unit of an image or a map. scale: the value of a map, in `unit`, for which the network's output is 1.
    window: the values of an image, in `unit`, to which it is clipped before it is scored; None: no clipping.
    within: name of the stored mask outside of which a map is not scored (the possible-dose region); "": everywhere.
    swaps: pairs of structures that change places when the patient is mirrored.
    """

    name: str
    kind: Literal["image", "structures", "map", "classes"]
    names: tuple[str, ...] = ()
    unit: str = ""
    scale: float = Field(1.0, gt=0)
    window: tuple[float, float] | None = None
    within: str = ""
    swaps: tuple[tuple[str, str], ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Target:
        if (self.kind in ("image", "map")) == bool(self.names):
            raise ValueError(f"{self.name}: structures and classes need names, images and maps have none")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"{self.name}: a name occurs twice")
        if unknown := {one for pair in self.swaps for one in pair} - set(self.names):
            raise ValueError(f"{self.name}: swaps contain {', '.join(sorted(unknown))}, which is not a structure")
        return self

    @property
    def channels(self) -> int:
        """Number of output channels of a network for this target."""
        return len(self.names) or 1

    @property
    def level(self) -> Literal["pixel", "image"]:
        """Whether the output has a value for every voxel, or one for the whole scan."""
        return "image" if self.kind == "classes" else "pixel"

    @property
    def mirrored(self) -> tuple[int, ...]:
        """For every structure the index of the one that takes its place in the mirrored patient."""
        other = {a: b for one, two in self.swaps for a, b in ((one, two), (two, one))}
        return tuple(self.names.index(other.get(name, name)) for name in self.names)

    def decode(self, output: Any, *, normalisation: Normalisation | None = None, region: Any = None) -> Any:
        """The physical values of a network's output for one scan.

        Parameters
        ----------
        output: (channels, *spatial), or (channels,) for classes; a floating-point NumPy array or torch tensor.
        normalisation: of the input; required for an image, ignored for other kinds.
        region: mask of the same type that broadcasts to `output`, 0 or 1; only used for a map. None: everywhere.

        Returns
        -------
        The shape and type of `output`. An image: values in the unit of the input. A map: values in `unit`, 0 outside
        of `region`. Structures: the probability of each (sigmoid). Classes: probabilities that sum to 1 (softmax).

        Raises
        ------
        ValueError: an image without a normalisation.
        """
        if self.kind == "image":
            if normalisation is None:
                raise ValueError(f"{self.name}: the normalisation of the input is needed to decode an image")
            return normalisation.undo(output)
        if self.kind == "map":
            values = output * self.scale
            return values if region is None else values * region
        if not isinstance(output, np.ndarray):  # a tensor; this module does not import torch
            return output.sigmoid() if self.kind == "structures" else output.softmax(0)
        if self.kind == "structures":
            return 0.5 + 0.5 * np.tanh(0.5 * output)  # the sigmoid; does not overflow
        exponential = np.exp(output - output.max(axis=0))
        return exponential / exponential.sum(axis=0)
