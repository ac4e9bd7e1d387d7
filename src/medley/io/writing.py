"""Writing slice by slice: the checks and the background thread that the writers of all formats share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import numpy as np

from medley.errors import MedleyError
from medley.volume import Slices

# What the writer of a format gives: a function that stores the next slice, (row, column) float32.
Append = Callable[[np.ndarray], None]
_WAITING = 2  # slices that wait to be written


class Writer:
    """Takes the slices of a volume in order; each is checked now and written in a background thread.

    Made by `medley.io.files.open_writer`. The first error of the background thread is raised by a later `append`, or at
    the end of the `with` block.
    """

    def __init__(self, shape: tuple[int, int, int], append: Append, pool: ThreadPoolExecutor) -> None:
        self.shape = shape
        self._append, self._pool = append, pool
        self._pending: deque[Future[None]] = deque()
        self._count = 0

    def append(self, values: np.ndarray) -> None:
        """Write the next slice, (row, column); the array must not be changed afterwards.

        Raises
        ------
        MedleyError: it holds NaN or infinite values, or an earlier slice could not be written.
        ValueError: its shape is not that of the volume, or the volume has no more slices.
        """
        check_slice(values, self._count, self.shape)
        self._count += 1
        while len(self._pending) >= _WAITING:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._append, values))

    def finish(self) -> None:
        """Wait until all slices are written.

        Raises
        ------
        ValueError: slices are missing.
        """
        check_count(self._count, self.shape)
        while self._pending:
            self._pending.popleft().result()


@contextmanager
def in_background(target: AbstractContextManager[Append], shape: tuple[int, int, int]) -> Iterator[Writer]:
    """A `Writer` around the writer of a format; at the end all slices are written, and the thread has ended."""
    with target as append, ThreadPoolExecutor(1, "medley-writer") as pool:
        writer = Writer(shape, append, pool)
        yield writer
        writer.finish()


def slices_to_write(data: np.ndarray | Slices) -> Iterator[np.ndarray]:
    """The slices of a volume, once and in order, each (row, column).

    Raises
    ------
    MedleyError: a value is NaN or infinite, which no format of a scan can hold.
    ValueError: the number or the size of the slices differs from `data.shape`.
    """
    count = 0
    for values in data:
        check_slice(values, count, data.shape)
        count += 1
        yield values
    check_count(count, data.shape)


def check_slice(values: np.ndarray, k: int, shape: tuple[int, ...]) -> None:
    """Refuse a slice that is not number `k` (from 0) of a volume of that shape, or not finite; see `Writer.append`."""
    if k >= shape[0] or values.shape != shape[1:]:
        raise ValueError(f"slice {k} has shape {values.shape}, but the volume has {shape}")
    if not np.isfinite(values).all():
        raise MedleyError(f"slice {k} (counted from 0) holds NaN or infinite values; nothing was written")


def check_count(count: int, shape: tuple[int, ...]) -> None:
    """Refuse a volume that has fewer slices than its shape says."""
    if count != shape[0]:
        raise ValueError(f"{count} slices were given, but the volume has shape {shape}")
