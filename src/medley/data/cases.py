"""Cases to samples: which cases make up a step of training, and the sample that a case gives.

As with patches (`medley.data.sampler`), a step's draws depend on the seed and the step's number alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medley.data.batch import Sample
from medley.data.store import Case, Store
from medley.errors import MedleyError
from medley.problems import Problem, Target


@dataclass(frozen=True)
class CaseDraw:
    """A case and how it is cut and turned.

    Attributes
    ----------
    at: in [0, 1), which of the voxels that have something to learn from is in the middle of the crop; None for the
        whole case. flips: spatial axes along which it runs backwards. transposed: whether rows and columns are
        exchanged, after that.
    """

    case: Case
    at: float | None = None
    flips: tuple[int, ...] = ()
    transposed: bool = False


class CaseSampler:
    """Draws the cases of every step: all of them once in a random order, then all in another order, and so on.

    Parameters
    ----------
    problem: theirs. cases: at least one. batch: cases in a step. seed: of all draws.
    rank, ranks: of this process, and how many train together; each draws other cases.
    """

    def __init__(
        self, problem: Problem, cases: Sequence[Case], *, batch: int, seed: int, rank: int = 0, ranks: int = 1
    ) -> None:
        self.problem, self.cases = problem, cases
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
        return CaseDraw(case, float(rng.random()), flips, self.problem.transposes and bool(rng.integers(2)))


class CaseReader:
    """Reads cases as a network sees them.

    Parameters
    ----------
    targets: names of what is asked.
    inputs: "image", and stored masks (structures, the region of a map) that come as further channels, 0 or 1.
    crop: voxels along each axis of what a draw with a place gives; () gives whole cases.

    Raises
    ------
    MedleyError: the store's problem has no such target or mask, or its grid has no such part; a target is an input too.
    """

    def __init__(
        self, store: Store, targets: Sequence[str], inputs: Sequence[str] = ("image",), crop: Sequence[int] = ()
    ) -> None:
        self.store = store
        self.problem = problem_of(store)
        self.targets = tuple(self.problem.target(name) for name in targets)
        self.inputs = tuple(inputs)
        self.channels = len(self.problem.input_channels(self.inputs))
        self.crop = tuple(crop)
        grid = self.problem.grid
        if self.crop and (len(crop) != len(grid) or any(a > b for a, b in zip(crop, grid, strict=True))):
            raise MedleyError(f"a crop of {self.crop} voxels is no part of the grid {grid} of {self.problem.name}")
        if self.problem.transposes and len(set((self.crop or grid)[-2:])) > 1:
            raise MedleyError(
                f"a crop of {self.crop or grid} has no equal sides, but rows and columns of {self.problem.name} are "
                "exchanged at random; give it as many rows as columns"
            )
        if both := ", ".join(set(self.inputs) & set(targets)):
            raise MedleyError(f"{both} is asked and shown at once; take it from the inputs or from the targets")

    def cases(self, split: str, *, needed: bool = True) -> list[Case]:
        """The cases of a split that have all inputs.

        Raises
        ------
        MedleyError: there is none, though some are `needed`.
        """
        regions = {target.within: target.name for target in self.problem.targets if target.within}
        found = [
            case
            for case in self.store.cases(split)
            if all(name == "image" or name in case.drawn or regions.get(name) in case.maps for name in self.inputs)
        ]
        if needed and not found:
            raise MedleyError(f"{self.store.path} has no {split} case with {', '.join(self.inputs)}; prepare some")
        return found

    def __call__(self, draw: CaseDraw) -> Sample:
        """The sample of a case.

        Its targets are structures (K, *spatial) uint8, a map (1, *spatial) float32 by its scale, the index of a class;
        its counts the structures that were drawn (K,), the map's region (1, *spatial), whether there is a class. A
        missing target is zero and counts nowhere.
        """
        case = draw.case
        pairs = {target: self._truth(case, target) for target in self.targets}
        part = self._part(pairs, draw.at) if self.crop and draw.at is not None else ...
        image = np.concatenate([self._input(case, name, draw) for name in self.inputs])
        sample = Sample(self._turned(image, part, draw), {}, self.problem.name)
        for target, (truth, counts) in pairs.items():
            if target.kind != "classes":
                truth = self._turned(self._swapped(truth, target, draw), part, draw)
            if target.kind == "structures":
                counts = self._swapped(counts, target, draw)
            elif target.kind == "map":
                counts = self._turned(counts, part, draw)
            sample.targets[target.name], sample.counts[target.name] = truth, counts
        return sample

    def _part(self, pairs: Mapping[Target, tuple[np.ndarray, np.ndarray]], at: float) -> Any:
        """The crop around a voxel within a structure or a map's region, as an index of (channels, *spatial).

        In a plan most voxels are air around the patient; a crop that is placed so has something to learn from.
        """
        some = [truth if target.kind == "structures" else counts for target, (truth, counts) in pairs.items()
                if target.kind != "classes"]  # fmt: skip
        inside = np.flatnonzero(np.concatenate(some).any(axis=0)) if some else np.empty(0)
        grid = self.problem.grid
        flat = inside[int(at * len(inside))] if len(inside) else int(at * np.prod(grid))
        middle = np.unravel_index(flat, grid)
        first = [min(max(m - side // 2, 0), n - side) for m, side, n in zip(middle, self.crop, grid, strict=True)]
        return (..., *(slice(k, k + side) for k, side in zip(first, self.crop, strict=True)))

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
            return self._array(case, target, bool(drawn.any()), np.uint8), drawn
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
    def _turned(array: np.ndarray, part: Any, draw: CaseDraw) -> np.ndarray:
        array = np.flip(array[part], tuple(axis + 1 for axis in draw.flips))
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
