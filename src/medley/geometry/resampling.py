"""From one grid of voxels to another: arrays and masks made smaller, larger, or laid over another scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.ndimage import map_coordinates


def to_size(array: np.ndarray, shape: Sequence[int], kind: Literal["mean", "linear"] = "mean") -> np.ndarray:
    """The same field of view with another number of voxels.

    Parameters
    ----------
    array: (..., *spatial); its last `len(shape)` axes are spatial, those before them (channels) stay.
    shape: the new number of voxels along each spatial axis.
    kind: "mean" gives each voxel the mean of all it covers along axes that get shorter, and interpolates linearly
        along those that get longer; "linear" interpolates between the centres of voxels along every axis.

    Returns
    -------
    (..., *shape) float64. Of a mask: the share of each voxel that is mask, so `>= 0.5` makes it a mask again.
    """
    if array.ndim < len(shape) or min(shape) < 1:
        raise ValueError(f"an array of shape {array.shape} cannot get the spatial shape {tuple(shape)}")
    result = array.astype(np.float64)
    for axis, new in enumerate(shape, start=array.ndim - len(shape)):
        old = array.shape[axis]
        if new != old:
            weights = _means(old, new) if kind == "mean" and new < old else _linear(old, new)  # (new, old)
            result = np.moveaxis(np.tensordot(result, weights, axes=(axis, 1)), -1, axis)
    return np.ascontiguousarray(result)


def resample(
    array: np.ndarray,
    affine: np.ndarray,
    new_affine: np.ndarray,
    new_shape: Sequence[int],
    order: Literal[0, 1] = 1,
    *,
    outside: float = 0.0,
) -> np.ndarray:
    """The values of a volume at the voxels of another grid, each at its place in the patient.

    Points are looked up, nothing is averaged: onto a much coarser grid, use `to_size` first.

    Parameters
    ----------
    array: (slice, row, column). affine: (4, 4), its voxel indices to mm; new_affine: (4, 4), those of the new grid.
    new_shape: (slices, rows, columns) of the new grid.
    order: 0 takes the nearest voxel (masks), 1 interpolates linearly.
    outside: the value where no voxel of `array` lies; the voxels at its border reach half a voxel outwards.

    Returns
    -------
    (*new_shape) in the dtype of `array` with order 0, else float32.
    """
    if array.ndim != 3 or len(new_shape) != 3:
        raise ValueError(f"volumes have three axes, but {array.shape} was to become {tuple(new_shape)}")
    across = np.linalg.solve(np.asarray(affine, np.float64), np.asarray(new_affine, np.float64))
    source = array if order == 0 else array.astype(np.float32)
    last = np.array(array.shape).reshape(3, 1, 1) - 0.5
    row, column = np.mgrid[: new_shape[1], : new_shape[2]]
    result = np.empty(tuple(new_shape), source.dtype)
    for k in range(new_shape[0]):  # a slice at a time: the coordinates need three times the memory of the values
        points = np.stack([np.full_like(row, k), row, column])
        where = np.tensordot(across[:3, :3], points, axes=1) + across[:3, 3].reshape(3, 1, 1)  # (3, rows, columns)
        inside = ((where >= -0.5 - 1e-6) & (where <= last + 1e-6)).all(axis=0)
        values = map_coordinates(source, where, order=order, mode="nearest")
        result[k] = np.where(inside, values, np.array(outside, source.dtype))
    return result


def averaged(array: np.ndarray, affine: np.ndarray, new_affine: np.ndarray, new_shape: Sequence[int]) -> np.ndarray:
    """The mean of a volume over each voxel of another grid, at the same place in the patient.

    Parameters as for `resample`; outside of the volume the values are 0.

    Returns
    -------
    (*new_shape) float64; of a mask, the share of each voxel that is mask.
    """
    across = np.linalg.solve(np.asarray(affine, np.float64), np.asarray(new_affine, np.float64))
    steps = np.abs(across[:3, :3])  # of the new grid along the axes of the volume, in voxels
    axes = steps.argmax(axis=0)
    aligned = sorted(axes) == [0, 1, 2] and steps.sum() - steps[axes, range(3)].sum() < 1e-6
    if aligned and array.dtype == bool:  # exact
        result = array.transpose(axes).astype(np.float64)
        for axis, old in enumerate(axes):
            weights = _overlaps(array.shape[old], new_shape[axis], across[old, axis], across[old, 3])
            result = np.moveaxis(np.tensordot(result, weights, axes=(axis, 1)), -1, axis)
        return np.ascontiguousarray(result)
    parts = np.maximum(1, np.ceil(steps.max(axis=0) - 1e-6)).astype(int)  # points along each axis of a voxel
    finer = np.diag([*(1 / parts), 1.0])
    finer[:3, 3] = (1 / parts - 1) / 2
    shape = (np.array(new_shape) * parts).tolist()
    return to_size(resample(array, affine, new_affine @ finer, shape, 0 if array.dtype == bool else 1), new_shape)


def mask_on_grid(mask: np.ndarray, affine: np.ndarray, new_affine: np.ndarray, new_shape: Sequence[int]) -> np.ndarray:
    """A mask on another grid: the voxels of which at least half is mask, or, where there is none, those it touches.

    So a structure smaller than a voxel is not lost. Training and prediction use the same rule.

    Parameters as for `resample`.

    Returns
    -------
    (*new_shape) bool.
    """
    share = averaged(mask.astype(bool), affine, new_affine, new_shape)
    half = share >= 0.5 - 1e-9
    return half if half.any() else share > 1e-9


def _means(old: int, new: int) -> np.ndarray:
    """(new, old): the share of each new voxel that each old one covers."""
    edges = np.arange(new + 1) * (old / new)
    low, high = edges[:-1, None], edges[1:, None]
    start = np.arange(old)
    covered = np.clip(np.minimum(high, start + 1) - np.maximum(low, start), 0, None)
    return covered * (new / old)


def _overlaps(old: int, new: int, step: float, start: float) -> np.ndarray:
    """(new, old): the share of each new voxel that each old one covers; the centre of new voxel k is start + k step."""
    centre, half = start + step * np.arange(new)[:, None], abs(step) / 2
    voxel = np.arange(old)
    covered = np.minimum(centre + half, voxel + 0.5) - np.maximum(centre - half, voxel - 0.5)
    return np.clip(covered, 0, None) / (2 * half)


def _linear(old: int, new: int) -> np.ndarray:
    """(new, old): weights of the two old centres beside each new one; beyond the outermost centre, that one alone."""
    where = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    return np.clip(1 - np.abs(where[:, None] - np.arange(old)), 0, None)
