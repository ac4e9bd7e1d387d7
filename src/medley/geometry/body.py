"""Resampling of a scan along the axes of the patient, the part that a network takes, and resampling back.

The axes of every network that takes volumes: slices run from head to feet, rows from front to back, columns from the
patient's right to left, however the scan itself is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medley.errors import MedleyError
from medley.geometry.resampling import resample, to_size
from medley.volume import Volume

AIR = -1000.0  # HU
BODY = -500.0  # HU; denser voxels may belong to the body
# The direction of a step along (slice, row, column) in RAS: to Inferior, to Posterior, to Left.
DIRECTIONS = np.array([[0, 0, -1], [0, -1, 0], [-1, 0, 0]], np.float64)


@dataclass(frozen=True)
class View:
    """The part of a CT that is the input of a network.

    Attributes
    ----------
    array: (slice, row, column), HU; air outside the body. body: mask of the body, bool.
    affine: (4, 4), (slice, row, column, 1) to RAS mm.
    outside: the fraction of the body outside of the view.
    """

    array: np.ndarray
    body: np.ndarray
    affine: np.ndarray
    outside: float


def lay_along_patient(
    scan: Volume, spacing: tuple[float, ...], outside: float
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """All of a volume, averaged down to a spacing, on axes along `DIRECTIONS`; its slices are read once.

    The grid depends on the position of the scan, not on its storage order: its centre is that of the scan.

    Parameters
    ----------
    spacing: mm along (slice, row, column) of the result. outside: the value where the scan has no voxel.

    Returns
    -------
    The values (slice, row, column) float32, their affine to RAS mm, and the least and largest value of the scan.
    """
    steps = DIRECTIONS.T @ scan.affine[:3, :3]  # of the scan's axes, in mm along the new ones
    wanted = np.array(spacing)[np.abs(steps).argmax(axis=0)]
    shape = [max(1, round(n * min(1, old / new))) for n, old, new in zip(scan.shape, scan.spacing, wanted, strict=True)]
    slices, low, high = [], np.inf, -np.inf
    for one in scan.data:
        slices.append(to_size(one, shape[1:]).astype(np.float32))
        low, high = min(low, float(one.min())), max(high, float(one.max()))
    smaller = to_size(np.stack(slices), shape)
    factors = np.array(scan.shape) / shape
    affine = scan.affine @ np.diag([*factors, 1])
    affine[:3, 3] += scan.affine[:3, :3] @ ((factors - 1) / 2)

    first, last = extent(scan.shape, scan.affine)
    counts = np.maximum(1, np.rint((last - first) / spacing)).astype(int)
    new_affine = np.eye(4)
    new_affine[:3, :3] = DIRECTIONS * np.array(spacing)
    new_affine[:3, 3] = DIRECTIONS @ ((first + last) / 2 - (counts - 1) / 2 * np.array(spacing))
    return resample(smaller, affine, new_affine, counts.tolist(), 1, outside=outside), new_affine, low, high


def find_body(hu: np.ndarray) -> np.ndarray:
    """The patient in a CT (slice, row, column): the largest part denser than `BODY`, with the air inside of it.

    Sheets of one or two voxels, as couches and blankets are, are no part of it.
    """
    dense = hu > BODY
    cores, count = ndimage.label(ndimage.binary_opening(np.pad(dense, 1, mode="edge"))[1:-1, 1:-1, 1:-1])
    if not count:
        return np.zeros(hu.shape, bool)
    largest = cores == np.bincount(cores.ravel())[1:].argmax() + 1
    whole = ndimage.binary_dilation(largest) & dense
    in_plane = ndimage.generate_binary_structure(2, 1)[None]  # windpipe and mouth are open towards other slices
    return ndimage.binary_fill_holes(whole, in_plane)


def view_body(hu: np.ndarray, affine: np.ndarray, shape: tuple[int, ...]) -> View:
    """The body of a CT (slice, row, column) in the middle of a grid of `shape`, to half a voxel along every axis.

    Raises
    ------
    MedleyError: there is no body.
    """
    body = find_body(hu)
    if not body.any():
        raise MedleyError(f"the scan shows no body, only air: no larger part of it is above {BODY:g} HU")
    ends = [(places.min(), places.max()) for places in np.nonzero(body)]
    start = [int(np.floor((low + high - side) / 2 + 1)) for (low, high), side in zip(ends, shape, strict=True)]
    seen = _window(body, start, shape, False)
    array = np.where(seen, _window(hu, start, shape, AIR), AIR)
    return View(array, seen, affine @ _shift(start), 1 - float(seen.sum()) / float(body.sum()))


class Spread:
    """Interpolates outputs from the grid of the network to the voxels of the scan where they can differ from zero."""

    def __init__(self, scan: Volume, affine: np.ndarray, shape: tuple[int, ...]) -> None:
        self._scan, self._affine = scan, affine
        reach = self._box((slice(0, n) for n in shape), 0.0)[0]
        self.slices = (reach.start, reach.stop - 1)

    def values(self, values: np.ndarray, body: np.ndarray) -> np.ndarray:
        """The values within the body, zero elsewhere; float32."""
        result = np.zeros(self._scan.shape, np.float32)
        box = self._box(ndimage.find_objects(body.astype(np.uint8))[0], 1.0)
        inside = self._at(body.astype(np.float32), box) > 0.5
        result[box] = np.where(inside, self._at(values, box), 0)
        return result

    def mask(self, probability: np.ndarray) -> np.ndarray:
        """Where the probability exceeds 0.5."""
        result = np.zeros(self._scan.shape, bool)
        found = ndimage.find_objects((probability > 0.5).astype(np.uint8))
        if found:
            box = self._box(found[0], 1.0)  # half way to the next voxel, no value that is interpolated can exceed 0.5
            result[box] = self._at(probability, box) > 0.5
        return result

    def _at(self, values: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
        shape = [part.stop - part.start for part in box]
        return resample(values, self._affine, self._scan.affine @ _shift([part.start for part in box]), shape)

    def _box(self, within: Iterable[slice], margin: float) -> tuple[slice, ...]:
        """The voxels of the scan that may lie in a part of the network's grid and a margin in voxels of that."""
        edges = [(part.start - 0.5 - margin, part.stop - 0.5 + margin) for part in within]
        corners = np.array(np.meshgrid(*edges)).reshape(3, 8)
        places = np.linalg.solve(self._scan.affine, self._affine @ np.vstack([corners, np.ones(8)]))[:3]
        first = np.ceil(places.min(axis=1) - 1e-6).astype(int)
        last = np.floor(places.max(axis=1) + 1e-6).astype(int)
        return tuple(
            slice(max(0, a), max(0, a, min(n, b + 1)))
            for a, b, n in zip(first.tolist(), last.tolist(), self._scan.shape, strict=True)
        )


def whole_spacing(shape: Sequence[int], affine: np.ndarray, grid: Sequence[int]) -> tuple[float, ...]:
    """The spacing in mm along (slice, row, column) at which all of a scan just fills a grid along the patient.

    Parameters
    ----------
    shape, affine: the scan's. grid: voxels.
    """
    first, last = extent(shape, affine)
    return tuple(float(mm) for mm in (last - first) / grid)


def extent(shape: Sequence[int], affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest place that the voxels of a scan reach, in mm along `DIRECTIONS`."""
    corners = np.array(np.meshgrid(*([-0.5, n - 0.5] for n in shape))).reshape(3, 8)
    places = DIRECTIONS.T @ (affine[:3, :3] @ corners + affine[:3, 3:])
    return places.min(axis=1), places.max(axis=1)


def _shift(start: list[int]) -> np.ndarray:
    """The affine of the voxels that are counted from `start`."""
    affine = np.eye(4)
    affine[:3, 3] = start
    return affine


def _window(array: np.ndarray, start: list[int], shape: tuple[int, ...], outside: float | bool) -> np.ndarray:
    """The part of an array from `start`, which may be negative, filled up where the array has nothing."""
    result = np.full(shape, outside, array.dtype)
    low = np.maximum(start, 0)
    high = np.minimum(np.array(start) + shape, array.shape)
    there = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
    result[there] = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return result
