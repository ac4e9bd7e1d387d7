"""Samples and batches: what a network is trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch


@dataclass(frozen=True)
class Sample:
    """One training example.

    Attributes
    ----------
    input: (C, *spatial) float32, normalised to [0, 1]; above 1 only where the normalisation does not clip.
    targets: {name: array}: an image (1, *spatial) float32, normalised like the input; structures (K, *spatial) uint8;
        a map (1, *spatial) float32, divided by its scale; the index of a class. A missing target is zero.
    task: name of the task.
    counts: {name: array of bool}, which parts of a target are used in the loss: structures (K,), a map
        (1, *spatial), a class (). A target without an entry is used completely.
    conditions: (K,) float32, a second input of the network; () for networks without one.
    """

    input: np.ndarray
    targets: dict[str, np.ndarray]
    task: str
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    conditions: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass(frozen=True)
class Batch:
    """Samples of one size, stacked.

    input (B, C, *spatial), targets and counts {name: (B, ...)}, the task of each, conditions (B, K).
    """

    input: torch.Tensor
    targets: dict[str, torch.Tensor]
    tasks: tuple[str, ...]
    counts: dict[str, torch.Tensor] = field(default_factory=dict)
    conditions: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 0))

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        """What the network is called with: the input, and the conditions if there are any."""
        return (self.input, self.conditions) if self.conditions.numel() else (self.input,)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        targets, counts = ({k: v.to(device) for k, v in each.items()} for each in (self.targets, self.counts))
        return Batch(self.input.to(device), targets, self.tasks, counts, self.conditions.to(device))

    def split(self, size: int) -> Iterator[Batch]:
        """Batches of `size` samples in the same order; the last one has the rest."""
        for first in range(0, len(self.tasks), size):
            part = slice(first, first + size)
            targets, counts = ({k: v[part] for k, v in each.items()} for each in (self.targets, self.counts))
            yield Batch(self.input[part], targets, self.tasks[part], counts, self.conditions[part])


def collate(samples: Sequence[Sample]) -> Batch:
    """The batch of `samples`, which have one size and the same targets."""
    return Batch(
        input=torch.from_numpy(np.stack([sample.input for sample in samples])),
        targets=_stacked([sample.targets for sample in samples]),
        tasks=tuple(sample.task for sample in samples),
        counts=_stacked([sample.counts for sample in samples]),
        conditions=torch.from_numpy(np.stack([sample.conditions for sample in samples])),
    )


def batches(make: Callable[[int], Batch], start: int, stop: int) -> Iterator[Batch]:
    """The batches of the steps from `start` to before `stop`; the next one is made while one is used."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(make, start) if start < stop else None
        for step in range(start + 1, stop + 1):
            assert following is not None
            batch = following.result()
            following = thread.submit(make, step) if step < stop else None
            yield batch


def _stacked(each: Sequence[Mapping[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.stack([one[name] for one in each])) for name in each[0]}
