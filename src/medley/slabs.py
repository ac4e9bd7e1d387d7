"""Slabs: slices of a scan together with their neighbours, the input of restorers that use several slices (2.5-D)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np

UNKNOWN = (0.0, 1.0, 1.0)  # spacing in mm where it is not known


@dataclass(frozen=True)
class Slabs:
    """Slices of one scan, each with the same number of neighbours on both sides.

    Beyond the first and the last slice, the nearest one is repeated. A network that uses no neighbours has slabs of one
    slice.

    Attributes
    ----------
    values: (n, slices of a slab, row, column) float32, in the unit of the scan; their number is odd.
    distances: (n, 2) mm, from each slice to the previous and to the next one; 0 where the slice itself is repeated.
    pixel_mm: side of a pixel.
    """

    values: np.ndarray
    distances: np.ndarray
    pixel_mm: float = 1.0

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, part: slice | np.ndarray) -> Slabs:
        return Slabs(self.values[part], self.distances[part], self.pixel_mm)

    @property
    def centre(self) -> np.ndarray:
        """The slices themselves, (n, row, column)."""
        return self.values[:, self.values.shape[1] // 2]


def slabs_of(
    scan: Any, indices: Sequence[int], reach: int = 0, spacing: Sequence[float] = UNKNOWN, *, alone: bool = False
) -> Slabs:
    """The slabs of some slices of a scan.

    Parameters
    ----------
    scan: (slice, row, column), or (1, slice, row, column) as in a store; only the slices that are needed are read.
    indices: of the slices, in any order.
    reach: number of neighbours on each side.
    spacing: (slice, row, column) in mm. Without a distance of slices (0), their neighbours are not used.
    alone: repeat each slice in place of its neighbours.
    """
    between, *in_plane = spacing
    used = 0 if alone or not between else reach
    stored, count = len(scan.shape) == 4, scan.shape[-3]
    places = np.clip(np.asarray(indices)[:, None] + np.arange(-used, used + 1), 0, count - 1)
    first, last = int(places.min()), int(places.max())
    needed = scan[0, first : last + 1] if stored else scan[first : last + 1]
    values = np.asarray(needed, np.float32)[places - first]
    if used < reach:
        values = np.repeat(values, 2 * reach + 1, axis=1)
    return Slabs(values, _distances(np.asarray(indices), count, between if used else 0.0), float(np.mean(in_plane)))


def stream_slabs(
    slices: Iterable[np.ndarray], count: int, size: int, reach: int = 0, spacing: Sequence[float] = UNKNOWN
) -> Iterator[Slabs]:
    """The slabs of all slices of a scan in order, `size` at a time; equal to those of `slabs_of`.

    Parameters
    ----------
    slices: (row, column) each. count: their number. The others as in `slabs_of`.
    """
    between, *in_plane = spacing
    used = reach if between else 0
    distances = _distances(np.arange(count), count, between if used else 0.0)
    window: deque[np.ndarray] = deque(maxlen=2 * used + 1)
    batch: list[np.ndarray] = []
    done = 0
    for one in _extended((np.asarray(one, np.float32) for one in slices), used):
        window.append(one)
        if len(window) <= 2 * used:
            continue
        batch.append(np.stack(window if used == reach else [*window] * (2 * reach + 1)))
        if len(batch) == size or done + len(batch) == count:
            last = done + len(batch)
            yield Slabs(np.stack(batch), distances[done:last], float(np.mean(in_plane)))
            batch, done = [], last


def _extended(slices: Iterator[np.ndarray], reach: int) -> Iterator[np.ndarray]:
    """The slices, with the first and the last one repeated `reach` times."""
    last = next(slices, None)
    if last is None:
        return
    yield from repeat(last, reach)
    for one in chain([last], slices):
        last = one
        yield one
    yield from repeat(last, reach)


def _distances(indices: np.ndarray, count: int, between: float) -> np.ndarray:
    """(n, 2) mm to the previous and the next slice; 0 beyond the ends."""
    inside = np.stack([indices > 0, indices < count - 1], axis=1)
    return (inside * between).astype(np.float32)
