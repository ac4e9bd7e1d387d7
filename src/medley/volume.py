"""Volume: the slices of a scan with their position in the patient and the meaning of their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


class Slices:
    """A stack of slices that are computed one at a time, so that a scan of any length needs the memory of one slice.

    Behaves like a read-only float32 array of shape (slice, row, column) that has only a `shape`, a `len`, and iteration
    over the slices in order. Every iteration starts again from the first slice. `numpy.asarray` computes all slices.

    Parameters
    ----------
    shape: (slices, rows, columns).
    make: called once for every iteration; yields the slices, (row, column) float32 each, in order.
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
            raise ValueError("slices that are computed one at a time cannot become an array without a copy")
        array = np.empty(self.shape, dtype or np.float32)
        for k, one in enumerate(self):
            array[k] = one
        return array


@dataclass(frozen=True)
class Volume:
    """A scan: float32 values in a physical unit, with the position of every voxel.

    Attributes
    ----------
    data: (slice, row, column), float32; an array, or `Slices` if the scan is streamed.
    affine: (4, 4) float64; maps (slice, row, column, 1) to RAS+ coordinates in mm.
        RAS+: the first coordinate grows to the patient's Right, the second to Anterior, the third to Superior.
    modality: as in DICOM: "CT", "MR", "PT", "DX", "US", ..., or "" if the file does not state it.
    unit: of the values: "HU", "SUV", "a.u." (scanner units of MR), "grey levels" (radiographs, ultrasound, OCT,
        pictures), or "" if the file does not state it.
    source: what the reader passes to the writer (files, headers, stored type); None for a volume created in memory.
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
        """A copy of the scan with other values, and with other fields as given in `changes`."""
        return replace(self, data=data, **changes)

    def load(self) -> Volume:
        """The same scan with all its slices in memory."""
        return self if isinstance(self.data, np.ndarray) else self.with_data(np.asarray(self.data))


def evenly_spread(count: int, most: int) -> tuple[int, ...]:
    """The numbers of at most `most` of `count` slices, the middle ones of equal parts of the scan."""
    parts = min(count, most)
    return tuple(int((k + 0.5) * count / parts) for k in range(parts))
