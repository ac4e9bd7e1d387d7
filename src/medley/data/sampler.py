"""Which patches make up a step of training. A step's draws depend on the seed and the step's number alone, so a run
that is resumed sees what it would have seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medley.data.store import Entry, Store
from medley.errors import MedleyError


@dataclass(frozen=True)
class Draw:
    """One patch: which, from where, and how it is turned.

    Attributes
    ----------
    entry, slice: the volume and the index of the slice in it.
    at: (row, column) of the patch's corner as fractions in [0, 1) of the places it can take.
    flips: whether rows and columns run backwards. transposed: whether they are exchanged, after that.
    """

    entry: Entry
    slice: int
    at: tuple[float, float]
    flips: tuple[bool, bool]
    transposed: bool


class PatchSampler:
    """Draws the patches of every step from the volumes of a split.

    Task-uniform (TAT, sec. 4.1), a step holds equally many patches of every task, in the order of the tasks. Mixed
    (AMIR, sec. 3.1), they come as the data has them. Within such a pool a volume comes as often as the square root of
    its number of voxels says: large scans hold more to learn from, but one large scan must not drown sixty small ones.
    Within a volume every slice and place is as likely as any other, in every one of the eight ways to turn a square.

    Parameters
    ----------
    store, split: where the volumes are. tasks: names of those to draw.
    patches: in a step, of all tasks together. mixed: see above.
    seed: of all draws. rank: of this process among those that train together; each draws other patches.

    Raises
    ------
    MedleyError: the store has no volume of one of the tasks in that split, or the patches cannot be shared out evenly.
    """

    def __init__(
        self,
        store: Store,
        tasks: Sequence[str],
        *,
        patches: int,
        seed: int,
        mixed: bool = False,
        split: str = "train",
        rank: int = 0,
    ) -> None:
        self.seed = seed
        self.rank = rank
        pools = [store.entries(split, task) for task in tasks]
        if missing := ", ".join(task for task, pool in zip(tasks, pools, strict=True) if not pool):
            raise MedleyError(
                f"{store.path} has no {split} volume for {missing}; prepare one, or leave the task out of the recipe"
            )
        self._pools = [[entry for pool in pools for entry in pool]] if mixed else pools
        self._each, rest = divmod(patches, len(self._pools))
        if rest:
            raise MedleyError(f"{patches} patches cannot be shared evenly by {len(pools)} tasks; take a multiple")

    def draw(self, step: int) -> list[Draw]:
        """The patches of a step."""
        rng = np.random.default_rng([self.seed, self.rank, step])
        return [self._one(pool, rng) for pool in self._pools for _ in range(self._each)]

    @staticmethod
    def _one(entries: Sequence[Entry], rng: np.random.Generator) -> Draw:
        weights = np.sqrt([np.prod(entry.shape, dtype=float) for entry in entries])
        entry = entries[rng.choice(len(entries), p=weights / weights.sum())]
        return Draw(
            entry=entry,
            slice=int(rng.integers(entry.shape[0])),
            at=(float(rng.random()), float(rng.random())),
            flips=(bool(rng.integers(2)), bool(rng.integers(2))),
            transposed=bool(rng.integers(2)),
        )
