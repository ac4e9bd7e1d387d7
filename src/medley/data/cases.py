"""Cases to samples: which cases make up a step of training, and the sample that a case gives.

As with patches (`medley.data.sampler`), a step's draws depend on the seed and the step's number alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medley.data.samples import Sample
from medley.data.store import Case, Store
from medley.errors import MedleyError
from medley.problems import Problem, Target


@dataclass(frozen=True)
class CaseDraw:
    """A case and how it is turned: the spatial axes along which it runs backwards, then rows and columns exchanged."""

    case: Case
    flips: tuple[int, ...] = ()
    transposed: bool = False


class CaseSampler:
    """Draws the cases of every step: all of a split once in a random order, then all in another order, and so on.

    Parameters
    ----------
    batch: cases in a step. seed: of all draws.
    rank, ranks: of this process, and how many train together; each draws other cases.

    Raises
    ------
    MedleyError: the store has no case in that split.
    """

    def __init__(
        self, store: Store, *, batch: int, seed: int, split: str = "train", rank: int = 0, ranks: int = 1
    ) -> None:
        self.problem = problem_of(store)
        self.cases = store.cases(split)
        if not self.cases:
            raise MedleyError(f"{store.path} has no {split} case; prepare some")
        self.batch, self.seed, self.rank, self.ranks = batch, seed, rank, ranks

    def draw(self, step: int) -> list[CaseDraw]:
        """The cases of a step."""
        first = (step * self.ranks + self.rank) * self.batch
        rng = np.random.default_rng([self.seed, self.rank, step])
        return [self._turned(self._at(place), rng) for place in range(first, first + self.batch)]

    def _at(self, place: int) -> Case:
        epoch, index = divmod(place, len(self.cases))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.cases))
        return self.cases[order[index]]

    def _turned(self, case: Case, rng: np.random.Generator) -> CaseDraw:
        flips = tuple(axis for axis in self.problem.flips if rng.integers(2))
        return CaseDraw(case, flips, self.problem.transposes and bool(rng.integers(2)))


class CaseReader:
    """Reads cases as a network sees them.

    Parameters
    ----------
    targets: names of what is asked.
    inputs: "image", and stored masks (structures, the region of a map) that come as further channels, 0 or 1.

    Raises
    ------
    MedleyError: the store's problem has no such target or mask.
    """

    def __init__(self, store: Store, targets: Sequence[str], inputs: Sequence[str] = ("image",)) -> None:
        self.store = store
        self.problem = problem_of(store)
        self.targets = tuple(self.problem.target(name) for name in targets)
        self.inputs = tuple(inputs)
        self.channels = len(self.problem.input_channels(inputs))

    def __call__(self, draw: CaseDraw) -> Sample:
        """The sample of a case.

        Its targets are structures (K, *spatial) uint8, a map (1, *spatial) float32 by its scale, the index of a class;
        its counts the structures that were drawn (K,), the map's region (1, *spatial), whether there is a class. A
        missing target is zero and counts nowhere.
        """
        case = draw.case
        image = self._turned(np.concatenate([self._input(case, name, draw) for name in self.inputs]), draw)
        sample = Sample(image, {}, self.problem.name)
        for target in self.targets:
            truth, counts = self._truth(case, target)
            if target.kind != "classes":
                truth = self._turned(self._swapped(truth, target, draw), draw)
            if target.kind == "structures":
                counts = self._swapped(counts, target, draw)
            elif target.kind == "map":
                counts = self._turned(counts, draw)
            sample.targets[target.name], sample.counts[target.name] = truth, counts
        return sample

    def _input(self, case: Case, name: str, draw: CaseDraw) -> np.ndarray:
        array = np.asarray(self.store.array(case, name)[...])
        if name == "image":
            low, high = self.problem.range
            return ((array.astype(np.float32) - low) / (high - low)).clip(0, 1)
        known = [target for target in self.problem.targets if target.name == name]
        return self._swapped(array, known[0], draw).astype(np.float32) if known else array.astype(np.float32)

    def _truth(self, case: Case, target: Target) -> tuple[np.ndarray, np.ndarray]:
        if target.kind == "classes":
            label = case.labels.get(target.name)
            return np.array(target.names.index(label) if label else 0), np.array(label is not None)
        if target.kind == "structures":
            drawn = np.array([name in case.drawn.get(target.name, ()) for name in target.names])
            return self._array(case, target, drawn.any(), np.uint8), drawn
        there = target.name in case.maps
        truth = self._array(case, target, there, np.float32) / np.float32(target.scale)
        region = np.full(truth.shape, there)
        if there and target.within:
            region &= np.asarray(self.store.array(case, target.within)[...]) > 0
        return truth, region

    def _array(self, case: Case, target: Target, there: bool, dtype: type) -> np.ndarray:
        if there:
            return np.asarray(self.store.array(case, target.name)[...]).astype(dtype, copy=False)
        return np.zeros((target.channels, *case.shape), dtype)

    def _swapped(self, array: np.ndarray, target: Target, draw: CaseDraw) -> np.ndarray:
        """The channels of paired structures exchanged where left and right are."""
        left_right = len(self.problem.grid) - 1
        return array[list(target.mirrored)] if target.swaps and left_right in draw.flips else array

    @staticmethod
    def _turned(array: np.ndarray, draw: CaseDraw) -> np.ndarray:
        array = np.flip(array, [axis + 1 for axis in draw.flips])
        return np.ascontiguousarray(array.swapaxes(-1, -2) if draw.transposed else array)


def problem_of(store: Store) -> Problem:
    """What the store asks.

    Raises
    ------
    MedleyError: it holds pairs of scans for restorers, and no cases.
    """
    if store.manifest.problem is None:
        raise MedleyError(
            f"{store.path} holds scans to restore, and no cases with targets; prepare a data set of those"
        )
    return store.manifest.problem
