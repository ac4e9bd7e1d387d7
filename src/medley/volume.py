"""Volume: the one currency of users. An array of slices, where it lies in the patient, and what its numbers mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


class Slices:
    """A stack of slices made one at a time, so that a scan of any length needs the memory of one slice.

    Behaves like a read-only float32 array of shape (slice, row, column) where only three things are asked of it:
    its `shape`, `len`, and iteration over the slices in order. Every iteration starts anew from the first slice.
    `numpy.asarray` makes the whole array.

    Parameters
    ----------
    shape: (slices, rows, columns).
    make: called once for every iteration; gives the slices, each (row, column) float32, in order.
    """

    def __init__(self, shape: tuple[int, int, int], make: Callable[[], Iterator[np.ndarray]]) -> None:
        self.shape = shape
        self._make = make

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return self._make()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("slices that are made one at a time cannot become an array without a copy")
        array = np.empty(self.shape, dtype or np.float32)
        for k, one in enumerate(self):
            array[k] = one
        return array


@dataclass(frozen=True)
class Volume:
    """A scan: float32 values in a physical unit, with the place of every voxel.

    Attributes
    ----------
    data: (slice, row, column), float32; an array, or `Slices` when the scan is streamed.
    affine: (4, 4) float64; takes (slice, row, column, 1) to RAS+ millimetres.
        RAS+: the first coordinate grows to the patient's Right, the second to Anterior, the third to Superior.
    modality: DICOM's word for it: "CT", "MR", "PT", or "" when the file does not say.
    unit: what a value is: "HU", "SUV", "a.u." (scanner units of MR), or "" when the file does not say.
    source: what the reader keeps for the writer (files, headers, stored type); None for a volume made in memory.
    """

    data: np.ndarray | Slices
    affine: np.ndarray
    modality: str = ""
    unit: str = ""
    source: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.data.shape) != 3:
            raise ValueError(f"a volume has the axes (slice, row, column), but this array has shape {self.data.shape}")
        affine = np.asarray(self.affine, np.float64)
        if affine.shape != (4, 4):
            raise ValueError(f"an affine is a (4, 4) matrix, but this one has shape {affine.shape}")
        object.__setattr__(self, "affine", affine)
        if isinstance(self.data, np.ndarray):
            object.__setattr__(self, "data", self.data.astype(np.float32, copy=False))

    def __repr__(self) -> str:
        spacing = " x ".join(f"{x:.4g}" for x in self.spacing)
        return f"Volume(shape={self.shape}, spacing={spacing} mm, modality={self.modality!r}, unit={self.unit!r})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return tuple(self.data.shape)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbours along (slice, row, column)."""
        return tuple(float(x) for x in np.linalg.norm(self.affine[:3, :3], axis=0))  # type: ignore[return-value]

    def with_data(self, data: np.ndarray | Slices, **changes: Any) -> Volume:
        """The same scan with other values (and other fields where `changes` names them); this one stays as it is."""
        return replace(self, data=data, **changes)

    def load(self) -> Volume:
        """The same scan with all its slices in memory."""
        return self if isinstance(self.data, np.ndarray) else self.with_data(np.asarray(self.data))
