"""Samplers: which samples make up a step of training.

The draws of a step depend only on the random seed and the number of the step, so a run that is resumed continues with
the samples it would have had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np

from medley.data.augmentation import Augmentation, Change
from medley.data.record import Record
from medley.data.store import Store
from medley.errors import MedleyError
from medley.tasks import Task


@dataclass(frozen=True)
class Draw:
    """One sample to read: a record, the part of it, and how the part is turned.

    Attributes
    ----------
    slice: index of a slice of the record; None for all of them.
    at: the position of the part, in fractions in [0, 1). For a patch of a slice: (row, column) of its corner among the
        places that it can take. For a crop of a whole record: (f,), which of the voxels with a target is in its
        middle. (): no cropping.
    flips: spatial axes of the sample that are reversed. transposed: whether rows and columns are exchanged after that.
    change: rotation, scaling and change of intensity, before all this; None for none.
    alone: the slice is repeated in place of its neighbours, for networks that use these.
    """

    record: Record
    slice: int | None = None
    at: tuple[float, ...] = ()
    flips: tuple[int, ...] = ()
    transposed: bool = False
    change: Change | None = None
    alone: bool = False


class Sampler(Protocol):
    """Draws the samples of every step."""

    def draw(self, step: int) -> list[Draw]:
        """The samples of a step."""
        ...


class PatchSampler:
    """Draws patches of slices, for restorers.

    Task-uniform (TAT, sec. 4.1), a step has equally many patches of every task, in the order of the tasks, unless
    `shares` states otherwise. Mixed (AMIR, sec. 3.1), patches are drawn from the records of all tasks together. The
    probability of a record is proportional to a power of its number of voxels, by default the square root: large scans
    contain more to learn from, but one large scan must not dominate sixty small ones. Within a record all slices,
    places and the eight orientations of a square are equally likely.

    Parameters
    ----------
    store, split: where the records are. tasks: names of those to draw.
    patches: number in a step, of all tasks together. mixed: see above.
    shares: {task: share} of the patches of a step; tasks that are not in it have the share 1.
    alone: share of the patches whose slice is repeated in place of its neighbours.
    exponent: the power of the number of voxels.
    seed: random seed. rank: of this process among those that train together; each draws other patches.

    Raises
    ------
    MedleyError: the split has no record of one of the tasks, or the patches cannot be divided among the tasks.
    """

    def __init__(
        self,
        store: Store,
        tasks: Sequence[str],
        *,
        patches: int,
        seed: int,
        mixed: bool = False,
        shares: Mapping[str, int] = MappingProxyType({}),
        alone: float = 0.0,
        exponent: float = 0.5,
        split: str = "train",
        rank: int = 0,
    ) -> None:
        self.alone, self.exponent = alone, exponent
        self.seed = seed
        self.rank = rank
        pools = [store.records(split, task) for task in tasks]
        if missing := ", ".join(task for task, pool in zip(tasks, pools, strict=True) if not pool):
            raise MedleyError(
                f"{store.path} has no {split} record of {missing}; prepare one, or remove the task from the recipe"
            )
        self._pools = [[record for pool in pools for record in pool]] if mixed else pools
        self._probabilities = [self._of_records(pool) for pool in self._pools]
        parts = [1] if mixed else [shares.get(task, 1) for task in tasks]
        if patches % sum(parts):
            raise MedleyError(
                f"{patches} patches cannot be divided into {sum(parts)} equal parts, the shares of the tasks; use a "
                f"multiple"
            )
        self._counts = [patches * part // sum(parts) for part in parts]

    def draw(self, step: int) -> list[Draw]:
        """The patches of a step."""
        rng = np.random.default_rng([self.seed, self.rank, step])
        pools = zip(self._pools, self._probabilities, self._counts, strict=True)
        return [self._one(pool, probabilities, rng) for pool, probabilities, count in pools for _ in range(count)]

    def _of_records(self, records: Sequence[Record]) -> np.ndarray:
        weights = np.array([np.prod(record.shape, dtype=float) for record in records]) ** self.exponent
        return weights / weights.sum()

    def _one(self, records: Sequence[Record], probabilities: np.ndarray, rng: np.random.Generator) -> Draw:
        record = records[rng.choice(len(records), p=probabilities)]
        return Draw(
            record,
            slice=int(rng.integers(record.shape[0])),
            at=(float(rng.random()), float(rng.random())),
            flips=tuple(axis for axis in (0, 1) if rng.integers(2)),
            transposed=bool(rng.integers(2)),
            alone=bool(self.alone) and bool(rng.random() < self.alone),
        )


class RecordSampler:
    """Draws whole records, for multi-task networks: each once in random order, then all in another order, and so on.

    Parameters
    ----------
    task: of the records. records: at least one. batch: number of records in a step.
    seed: random seed. rank, ranks: of this process, and the number of processes that train together; each draws other
        records.
    augmentation: limits of random changes.
    """

    def __init__(
        self,
        task: Task,
        records: Sequence[Record],
        *,
        batch: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 (it cannot be changed)
    ) -> None:
        self.task, self.records = task, records
        self.batch, self.seed, self.rank, self.ranks = batch, seed, rank, ranks
        self.augmentation = augmentation

    def draw(self, step: int) -> list[Draw]:
        """The records of a step."""
        first = (step * self.ranks + self.rank) * self.batch
        rng = np.random.default_rng([self.seed, self.rank, step])
        return [self._turned(self._at(place), rng) for place in range(first, first + self.batch)]

    def _at(self, place: int) -> Record:
        epoch, index = divmod(place, len(self.records))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.records))
        return self.records[order[index]]

    def _turned(self, record: Record, rng: np.random.Generator) -> Draw:
        flips = tuple(axis for axis in self.task.flips if rng.integers(2))
        at = (float(rng.random()),)
        transposed = self.task.transposes and bool(rng.integers(2))
        return Draw(record, at=at, flips=flips, transposed=transposed, change=self.augmentation.draw(rng))
