"""Store to samples: the patch that a draw names, normalised and turned, and the batch that patches make."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch

from medley.data.sampler import Draw
from medley.data.store import Store


@dataclass(frozen=True)
class Sample:
    """What a network learns from.

    Attributes
    ----------
    input: (C, *spatial) float32, normalised to [0, 1]; above 1 only where the task's normalisation does not clip.
    targets: {name: array}; a restoration sample has the one target "image", (1, H, W). What is missing is absent.
    task: its name; a problem's name where several things are asked at once.
    counts: {name: array of bool}, which parts of a target are used in the loss; a target without an entry is used
        completely.
    """

    input: np.ndarray
    targets: dict[str, np.ndarray]
    task: str
    counts: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Samples of one size, stacked: input (B, C, *spatial), targets and counts {name: (B, ...)}, the task of each."""

    input: torch.Tensor
    targets: dict[str, torch.Tensor]
    tasks: tuple[str, ...]
    counts: dict[str, torch.Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        targets, counts = ({k: v.to(device) for k, v in each.items()} for each in (self.targets, self.counts))
        return Batch(self.input.to(device), targets, self.tasks, counts)

    def split(self, size: int) -> Iterator[Batch]:
        """Batches of `size` samples in the same order, the last of what is left."""
        for first in range(0, len(self.tasks), size):
            part = slice(first, first + size)
            targets, counts = ({k: v[part] for k, v in each.items()} for each in (self.targets, self.counts))
            yield Batch(self.input[part], targets, self.tasks[part], counts)


class PatchReader:
    """Cuts the patches that a sampler draws out of a store.

    Parameters
    ----------
    store: where from. size: side of the square patches, in pixels. Slices smaller than that are filled up by
    reflection.
    """

    def __init__(self, store: Store, size: int) -> None:
        self.store = store
        self.size = size

    def __call__(self, draw: Draw) -> Sample:
        """The sample that `draw` names."""
        pair = (self.store.input(draw.entry), self.store.target(draw.entry))
        normalise = draw.entry.normalisation.apply
        slices = (np.asarray(array[draw.slice]) for array in pair)
        image, target = (self._turned(normalise(self._cut(one, draw)), draw) for one in slices)
        return Sample(image, {"image": target}, draw.entry.task)

    def _cut(self, image: np.ndarray, draw: Draw) -> np.ndarray:
        row, column = (int(at * max(side - self.size + 1, 1)) for at, side in zip(draw.at, image.shape, strict=True))
        patch = image[row : row + self.size, column : column + self.size]
        missing = [self.size - side for side in patch.shape]
        return np.pad(patch, [(gap // 2, gap - gap // 2) for gap in missing], mode="symmetric")

    @staticmethod
    def _turned(patch: np.ndarray, draw: Draw) -> np.ndarray:
        """Flipped as drawn, with the channel axis in front: (1, size, size)."""
        axes = tuple(axis for axis, flip in enumerate(draw.flips) if flip)
        patch = np.flip(patch, axes)
        patch = patch.T if draw.transposed else patch
        return np.ascontiguousarray(patch, dtype=np.float32)[None]


def collate(samples: Sequence[Sample]) -> Batch:
    """The batch of `samples`, which have one size and the same targets."""
    return Batch(
        input=torch.from_numpy(np.stack([sample.input for sample in samples])),
        targets=_stacked([sample.targets for sample in samples]),
        tasks=tuple(sample.task for sample in samples),
        counts=_stacked([sample.counts for sample in samples]),
    )


def batches(make: Callable[[int], Batch], start: int, stop: int) -> Iterator[Batch]:
    """The batches that `make` gives for the steps from `start` to before `stop`; the next is made while one is used."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(make, start) if start < stop else None
        for step in range(start + 1, stop + 1):
            assert following is not None
            batch = following.result()
            following = thread.submit(make, step) if step < stop else None
            yield batch


def _stacked(each: Sequence[Mapping[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.stack([one[name] for one in each])) for name in each[0]}
