"""What several answers from one scan are, as plain data: the input, and the targets that are asked of it.

A data set's layout states its problem, the store's manifest keeps it, and so do the weights that learnt it: a network's
answers carry their names and units wherever they go.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from medley.errors import MedleyError


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(_Plain):
    """One thing that is asked.

    Attributes
    ----------
    name: "dose", "segmentation", "diagnosis", "severity" ...
    kind: "structures", one mask for each of `names`, which may overlap; "map", one value for each voxel;
        "classes", one of `names` for the whole scan.
    names: of the structures or classes, in the order of the network's channels; none for a map.
    unit: of a map's values. scale: the value, in `unit`, that the network calls 1.
    within: name of the stored mask outside of which a map is not asked (the possible-dose region), "" for everywhere.
    swaps: pairs of structures that change places when the patient is mirrored.
    """

    name: str
    kind: Literal["structures", "map", "classes"]
    names: tuple[str, ...] = ()
    unit: str = ""
    scale: float = Field(1.0, gt=0)
    within: str = ""
    swaps: tuple[tuple[str, str], ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Target:
        if (self.kind == "map") == bool(self.names):
            raise ValueError(f"{self.name}: a map has no names, structures and classes need some")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"{self.name}: a name comes twice")
        if unknown := {one for pair in self.swaps for one in pair} - set(self.names):
            raise ValueError(f"{self.name}: {', '.join(sorted(unknown))} cannot be swapped, it is no structure")
        return self

    @property
    def channels(self) -> int:
        """How many numbers a network gives for it, a voxel or a scan."""
        return len(self.names) or 1

    def decode(self, output: Any, region: Any = None) -> Any:
        """The physical values of a network's output for one scan.

        Parameters
        ----------
        output: (channels, *spatial), or (channels,) for classes; a floating-point NumPy array or torch tensor.
        region: mask of the same kind that broadcasts to `output`, 0 or 1; only used for a map. None: everywhere.

        Returns
        -------
        The shape and kind of `output`. A map: values in `unit`, 0 outside of `region`. Structures: the probability of
        each, by the sigmoid. Classes: probabilities that sum to 1, by the softmax.
        """
        if self.kind == "map":
            values = output * self.scale
            return values if region is None else values * region
        if not isinstance(output, np.ndarray):  # a tensor; this module does not import torch
            return output.sigmoid() if self.kind == "structures" else output.softmax(0)
        if self.kind == "structures":
            return 0.5 + 0.5 * np.tanh(0.5 * output)  # the sigmoid; does not overflow
        exponential = np.exp(output - output.max(axis=0))
        return exponential / exponential.sum(axis=0)

    @property
    def level(self) -> Literal["pixel", "image"]:
        """Whether it is asked of every voxel or of the scan as a whole."""
        return "image" if self.kind == "classes" else "pixel"

    @property
    def mirrored(self) -> tuple[int, ...]:
        """For every structure the index of the one that takes its place in the mirrored patient."""
        other = {a: b for one, two in self.swaps for a, b in ((one, two), (two, one))}
        return tuple(self.names.index(other.get(name, name)) for name in self.names)


class Problem(_Plain):
    """What a data set asks: one input, several targets.

    Attributes
    ----------
    name: of the data set. title: for people.
    modality: DICOM's code of the scans, "CT"; "" for photographs.
    channels: names of the image's channels: ("CT",) or ("red", "green", "blue").
    range: the image's values that become 0 and 1; values beyond are clipped. unit: theirs.
    grid: voxels along each spatial axis, (slice, row, column) or (row, column), as the store holds them.
    spacing: mm along each axis, the median over the data set; () where a pixel has no size.
    framing: how a volume comes to its grid: "body", at that spacing with the body in the middle, or "whole", all of
        the scan squeezed into it. Photographs are always whole.
    flips: axes of the grid along which a mirrored case is a case too; the last one swaps left and right.
    transposes: whether rows and columns may be exchanged (photographs).
    targets: what is asked.
    """

    name: str
    title: str
    modality: str = ""
    channels: tuple[str, ...]
    range: tuple[float, float]
    unit: str = ""
    grid: tuple[int, ...]
    spacing: tuple[float, ...] = ()
    framing: Literal["body", "whole"] = "body"
    flips: tuple[int, ...] = ()
    transposes: bool = False
    targets: tuple[Target, ...]

    def target(self, name: str) -> Target:
        """The target of that name.

        Raises
        ------
        MedleyError: it is not asked; the message lists those that are.
        """
        for target in self.targets:
            if target.name == name:
                return target
        raise MedleyError(f"{self.name} has no target {name!r}; it has {', '.join(t.name for t in self.targets)}")

    def input_channels(self, inputs: tuple[str, ...]) -> tuple[str, ...]:
        """The name of each channel of a network's input.

        Parameters
        ----------
        inputs: "image", and names of structures targets or regions, whose masks come as further channels, 0 or 1.

        Raises
        ------
        MedleyError: an input that is none of these.
        """
        masks = {target.name: target.names for target in self.targets if target.kind == "structures"}
        regions = {target.within: (target.within,) for target in self.targets if target.within}
        known = {"image": self.channels, **masks, **regions}
        for name in inputs:
            if name not in known:
                raise MedleyError(f"{self.name} has no input {name!r}; it has {', '.join(known)}")
        return tuple(channel for name in inputs for channel in known[name])

    def only(self, names: tuple[str, ...]) -> Problem:
        """The same problem with some of its targets, in the order of `names`."""
        return self.model_copy(update={"targets": tuple(self.target(name) for name in names)})
