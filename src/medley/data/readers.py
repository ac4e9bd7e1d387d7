"""Readers: the sample of a draw, normalised, cut and turned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from medley.data.augmentation import changed_intensity, warped
from medley.data.batch import Sample
from medley.data.record import INPUT, Record
from medley.data.sampling import Draw
from medley.data.store import Store
from medley.errors import MedleyError
from medley.inference.conditions import conditions
from medley.slabs import UNKNOWN, slabs_of
from medley.targets import IMAGE, Target


class Reader(Protocol):
    """Reads samples from a store."""

    def __call__(self, draw: Draw) -> Sample:
        """The sample of a draw."""
        ...


class PatchReader:
    """Reads square patches of slices with their target "image", for restorers.

    Parameters
    ----------
    store: the records. size: side of a patch, in pixels. Smaller slices are extended by reflection.
    """

    def __init__(self, store: Store, size: int) -> None:
        self.store = store
        self.size = size

    def __call__(self, draw: Draw) -> Sample:
        """The patch of a draw: input and target (1, size, size)."""
        normalisation = draw.record.normalisation
        image, target = (normalisation.apply(self._slice(draw, name)) for name in (INPUT, IMAGE))
        return Sample(self._patch(draw, image), {IMAGE: self._patch(draw, target)}, draw.record.task)

    def _slice(self, draw: Draw, name: str) -> np.ndarray:
        """The whole slice of an array, (1, row, column)."""
        return self.store.array(draw.record, name)[:, draw.slice]

    def _patch(self, draw: Draw, image: np.ndarray) -> np.ndarray:
        """The patch of slices (n, row, column)."""
        corner = [int(at * max(n - self.size + 1, 1)) for at, n in zip(draw.at, image.shape[1:], strict=True)]
        patch = image[(slice(None), *(slice(k, k + self.size) for k in corner))]
        gaps = [self.size - side for side in patch.shape[1:]]
        patch = np.pad(patch, [(0, 0), *((gap // 2, gap - gap // 2) for gap in gaps)], mode="symmetric")
        return turned(patch, draw).astype(np.float32, copy=False)


class SlabReader(PatchReader):
    """Reads patches of slabs, the slice of a draw with its neighbours, and the conditions of the slice.

    Values above the range are compressed, not clipped. The conditions are those of the whole slice.

    Parameters
    ----------
    store, size: as in `PatchReader`.
    reach: number of neighbours on each side.
    tasks: names of the tasks, in the order of the network's conditions.
    """

    def __init__(self, store: Store, size: int, reach: int, tasks: Sequence[str]) -> None:
        super().__init__(store, size)
        self.reach, self.tasks = reach, tuple(tasks)

    def __call__(self, draw: Draw) -> Sample:
        """The patch of a draw: input (2 · reach + 1, size, size) and target (1, size, size)."""
        record = draw.record
        slabs = slabs_of(
            self.store.array(record, INPUT), [draw.slice or 0], self.reach, record.spacing or UNKNOWN, alone=draw.alone
        )
        compress = record.normalisation.compress
        (stated,) = conditions(slabs, compress(slabs.centre), self.tasks.index(record.task), len(self.tasks))
        return Sample(
            compress(self._patch(draw, slabs.values[0])),
            {IMAGE: compress(self._patch(draw, self._slice(draw, IMAGE)))},
            record.task,
            conditions=stated,
        )


class RecordReader:
    """Reads whole records, or crops of them, for multi-task networks.

    Parameters
    ----------
    targets: names of the targets.
    inputs: "image" for the scan, and stored masks (structures, the region of a map) that are further channels, 0 or 1.
    crop: voxels along each axis of what a draw with a place gives; () gives whole records.

    Raises
    ------
    MedleyError: the store's task has no such target or mask, or its grid is smaller than the crop; a target is also an
        input.
    """

    def __init__(
        self, store: Store, targets: Sequence[str], inputs: Sequence[str] = (IMAGE,), crop: Sequence[int] = ()
    ) -> None:
        self.store = store
        self.task = store.prediction_task()
        self.targets = tuple(self.task.target(name) for name in targets)
        self.inputs = tuple(inputs)
        self.channels = len(self.task.input_channels(self.inputs))
        self.crop = tuple(crop)
        grid = self.task.grid
        if self.crop and (len(crop) != len(grid) or any(a > b for a, b in zip(crop, grid, strict=True))):
            raise MedleyError(f"a crop of {self.crop} voxels does not fit into the grid {grid} of {self.task.name}")
        if self.task.transposes and len(set((self.crop or grid)[-2:])) > 1:
            raise MedleyError(
                f"rows and columns of {self.task.name} are exchanged at random, so a crop needs as many rows as "
                f"columns, but has {self.crop or grid}"
            )
        if both := ", ".join(set(self.inputs) & set(targets)):
            raise MedleyError(f"{both} is an input and a target; remove it from one of them")

    def records(self, split: str, *, required: bool = True) -> list[Record]:
        """The records of a split that have all inputs.

        Raises
        ------
        MedleyError: there is none, and `required`.
        """
        found = [
            record
            for record in self.store.records(split, self.task.name)
            if all(name == IMAGE or name in record.checksums for name in self.inputs)
        ]
        if required and not found:
            raise MedleyError(
                f"{self.store.path} has no {split} record with {', '.join(self.inputs)}; prepare some first"
            )
        return found

    def __call__(self, draw: Draw) -> Sample:
        """The sample of a draw: see `medley.data.batch.Sample`."""
        record = draw.record
        pairs = {target: self._truth(record, target, draw) for target in self.targets}
        part = self._part(pairs, draw.at[0]) if self.crop and draw.at else ...
        image = np.concatenate([self._input(record, name, draw) for name in self.inputs])
        sample = Sample(turned(image[part], draw), {}, self.task.name)
        for target, (truth, counts) in pairs.items():
            if target.kind != "classes":
                truth = turned(self._swapped(truth, target, draw)[part], draw)
            if target.kind == "structures":
                counts = self._swapped(counts, target, draw)
            elif target.kind == "map":
                counts = turned(counts[part], draw)
            sample.targets[target.name], sample.counts[target.name] = truth, counts
        return sample

    def _part(self, pairs: Mapping[Target, tuple[np.ndarray, np.ndarray]], at: float) -> Any:
        """The crop around a voxel within a structure or the region of a map, as an index of (channels, *spatial).

        Most voxels of a plan are air around the patient; a crop that is placed like this contains targets.
        """
        masks = [truth if target.kind == "structures" else counts for target, (truth, counts) in pairs.items()
                 if target.kind != "classes"]  # fmt: skip
        inside = np.flatnonzero(np.concatenate(masks).any(axis=0)) if masks else np.empty(0)
        grid = self.task.grid
        flat = inside[int(at * len(inside))] if len(inside) else int(at * np.prod(grid))
        middle = np.unravel_index(flat, grid)
        first = [min(max(m - side // 2, 0), n - side) for m, side, n in zip(middle, self.crop, grid, strict=True)]
        return (..., *(slice(k, k + side) for k, side in zip(first, self.crop, strict=True)))

    def _input(self, record: Record, name: str, draw: Draw) -> np.ndarray:
        if name == IMAGE:
            image = record.normalisation.apply(self.store.array(record, INPUT)[...].astype(np.float32))
            if draw.change is None:
                return image
            return changed_intensity(warped(image, draw.change), draw.change, clip=record.normalisation.clip)
        array = _warped(self.store.array(record, name)[...], draw)
        known = [target for target in self.task.targets if target.name == name]
        return (self._swapped(array, known[0], draw) if known else array).astype(np.float32)

    def _truth(self, record: Record, target: Target, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        """The values of a target, zero where missing, and what of them is used in the loss."""
        known = record.has(target)
        if target.kind == "classes":
            return np.array(target.names.index(record.labels[target.name]) if known else 0), np.array(known)
        if target.kind == "structures":
            drawn = np.array([record.has(target, name) for name in target.names])
            return _warped(self._array(record, target, np.uint8), draw), drawn
        truth = _warped(self._array(record, target, np.float32), draw) / np.float32(target.scale)
        region = np.full(truth.shape, known)
        if known and target.within:
            region &= _warped(self.store.array(record, target.within)[...], draw) > 0
        return truth, region

    def _array(self, record: Record, target: Target, dtype: type) -> np.ndarray:
        if record.has(target):
            return self.store.array(record, target.name)[...].astype(dtype, copy=False)
        return np.zeros((target.channels, *record.shape), dtype)

    def _swapped(self, array: np.ndarray, target: Target, draw: Draw) -> np.ndarray:
        """The channels of paired structures exchanged if left and right are."""
        left_right = len(self.task.grid) - 1
        return array[list(target.mirrored)] if target.swaps and left_right in draw.flips else array


def _warped(array: np.ndarray, draw: Draw) -> np.ndarray:
    return array if draw.change is None else warped(array, draw.change)


def turned(array: np.ndarray, draw: Draw) -> np.ndarray:
    """(channels, *spatial), flipped and transposed as drawn."""
    array = np.flip(array, tuple(axis + 1 for axis in draw.flips))
    return np.ascontiguousarray(array.swapaxes(-1, -2) if draw.transposed else array)
