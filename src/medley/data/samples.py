"""Store to samples: the patch that a draw names, normalised and turned, and the batch that patches make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from medley.data.sampler import Draw, PatchSampler
from medley.data.store import Store


@dataclass(frozen=True)
class Sample:
    """What a network learns from.

    Attributes
    ----------
    input: (C, *spatial) float32, normalised to [0, 1]; above 1 only where the task's normalisation does not clip.
    targets: {name: array}; a restoration sample has the one target "image", (1, H, W). What is missing is absent.
    task: its name.
    """

    input: np.ndarray
    targets: dict[str, np.ndarray]
    task: str


@dataclass(frozen=True)
class Batch:
    """Samples of one size, stacked: input (B, C, *spatial), targets {name: (B, ...)}, and the task of each."""

    input: torch.Tensor
    targets: dict[str, torch.Tensor]
    tasks: tuple[str, ...]


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
        targets={
            name: torch.from_numpy(np.stack([sample.targets[name] for sample in samples]))
            for name in samples[0].targets
        },
        tasks=tuple(sample.task for sample in samples),
    )


def batches(reader: PatchReader, sampler: PatchSampler, start: int, stop: int) -> Iterator[Batch]:
    """The batches of the steps from `start` to before `stop`; the next one is read while one is used."""

    def make(step: int) -> Batch:
        return collate([reader(draw) for draw in sampler.draw(step)])

    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(make, start) if start < stop else None
        for step in range(start + 1, stop + 1):
            assert following is not None
            batch = following.result()
            following = thread.submit(make, step) if step < stop else None
            yield batch
