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
    `shares` states otherwise. With a temperature T, patches are drawn from the records of all tasks together, and the
    probability of a task is proportional to the size of its data to the power 1/T: T = 1 is in proportion to the data
    (AMIR, sec. 3.1), a large T nearly uniform. The size of a record, to which its probability among those of its task
    is proportional, is a power of its number of voxels, by default the square root: large scans contain more to learn
    from, but one large scan must not dominate sixty small ones. The size of a task is the sum of those of its records.
    Within a record all slices, places and the eight orientations of a square are equally likely.

    Parameters
    ----------
    store, split: where the records are. tasks: names of those to draw.
    patches: number in a step, of all tasks together. temperature: see above; None: task-uniform.
    shares: {task: share} of the patches of a step, without temperature; tasks that are not in it have the share 1.
    alone: share of the patches whose slice is repeated in place of its neighbours.
    exponent: the power of the number of voxels.
    seed: random seed.

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
        temperature: float | None = None,
        shares: Mapping[str, int] = MappingProxyType({}),
        alone: float = 0.0,
        exponent: float = 0.5,
        split: str = "train",
    ) -> None:
        self.alone = alone
        self.seed = seed
        pools = [store.records(split, task) for task in tasks]
        if missing := ", ".join(task for task, pool in zip(tasks, pools, strict=True) if not pool):
            raise MedleyError(
                f"{store.path} has no {split} record of {missing}; prepare one, or remove the task from the recipe"
            )
        sizes = [np.array([np.prod(one.shape, dtype=float) for one in pool]) ** exponent for pool in pools]
        parts = [shares.get(task, 1) for task in tasks]
        if temperature is not None:
            sizes = [np.concatenate([size * size.sum() ** (1 / temperature - 1) for size in sizes])]
            pools, parts = [[record for pool in pools for record in pool]], [1]
        if patches % sum(parts):
            raise MedleyError(
                f"{patches} patches cannot be divided into {sum(parts)} equal parts, the shares of the tasks; use a "
                f"multiple"
            )
        self._pools, self._probabilities = pools, [size / size.sum() for size in sizes]
        self._counts = [patches * part // sum(parts) for part in parts]

    def draw(self, step: int) -> list[Draw]:
        """The patches of a step."""
        rng = _generator(self.seed, step)
        pools = zip(self._pools, self._probabilities, self._counts, strict=True)
        return [self._one(pool, probabilities, rng) for pool, probabilities, count in pools for _ in range(count)]

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
    seed: random seed.
    augmentation: limits of random changes.
    """

    def __init__(
        self,
        task: Task,
        records: Sequence[Record],
        *,
        batch: int,
        seed: int,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 (it cannot be changed)
    ) -> None:
        self.task, self.records = task, records
        self.batch, self.seed = batch, seed
        self.augmentation = augmentation

    def draw(self, step: int) -> list[Draw]:
        """The records of a step."""
        first = step * self.batch
        rng = _generator(self.seed, step)
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


def _generator(seed: int, step: int) -> np.random.Generator:
    """The random numbers of a step. The 0 was the number of a process, and keeps the draws of older versions."""
    return np.random.default_rng([seed, 0, step])
