"""What networks do inside, by task: routing, generated kernels, memory, attention between targets, modulation.

Every sample of a store passes through the network, while hooks read what its kind of network decides for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from medley.data.readers import RecordReader
from medley.data.record import INPUT, Record
from medley.data.store import Store
from medley.errors import MedleyError
from medley.inference.loading import Loaded
from medley.inference.restorer import Restorer
from medley.metrics.embedding import principal_components, share_between_groups
from medley.models.amir import AMIR, SpatialRouter
from medley.models.blocks import Block
from medley.models.ctan import CTAN, CrossTaskBottleneck
from medley.models.layers import AdaptiveDepthwiseConv
from medley.models.memory import HomogeneityMemory
from medley.models.slab import GatedBlock, SlabNet
from medley.models.tat import TAT
from medley.models.unih3 import UniH3
from medley.scoring.scorers import predict_record, some_slices
from medley.slabs import UNKNOWN, slabs_of

Handle = torch.utils.hooks.RemovableHandle


@dataclass
class Seen:
    """What was read during one forward pass of one sample.

    Attributes
    ----------
    numbers: by name. vector: (D,), to be embedded; empty if there is none. maps: the first choice of every pixel,
        (H, W) whole numbers from 0, by name. attention: how much attention a place receives, on the grid of the deepest
        stage, (row, column) or (slice, row, column), by name; 1 where it is spread evenly.
    """

    numbers: dict[str, float] = field(default_factory=dict)
    vector: np.ndarray = field(default_factory=lambda: np.zeros(0))
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    attention: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One sample: its record, task and slice (None: the whole record), and what was read."""

    record: str
    task: str
    slice: int | None
    seen: Seen


@dataclass(frozen=True)
class Internals:
    """What was read of all samples.

    Attributes
    ----------
    network: its name. vector: what the embedded vectors are; "" if there are none.
    samples: in the order of the tasks and the store.
    embedding: (n, 2) principal components of the vectors. shares: (2,) their shares of the variance.
    between: the share of the variance that lies between tasks (η²); NaN without vectors or with one task.
    """

    network: str
    vector: str
    samples: tuple[Sample, ...]
    embedding: np.ndarray
    shares: np.ndarray
    between: float

    def means(self) -> tuple[list[str], list[str], np.ndarray]:
        """The tasks, the names of the numbers, and the mean of each over the samples of a task (tasks, names)."""
        tasks = list(dict.fromkeys(one.task for one in self.samples))
        names = list(dict.fromkeys(name for one in self.samples for name in one.seen.numbers))
        table = [
            [np.mean([one.seen.numbers[name] for one in self.samples if one.task == task]) for name in names]
            for task in tasks
        ]
        return tasks, names, np.array(table)


def look_inside(
    loaded: Loaded,
    store: Store,
    *,
    split: str = "valid",
    slices: int = 4,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Internals:
    """Read the decisions of a network on the records of a split.

    Parameters
    ----------
    loaded: AMIR, TAT, UniH3, SlabNet or CTAN with weights.
    slices: of each scan, evenly spaced in its middle half; one sample each. Records of cases are one sample.
    progress: called with the finished and all records, and the name of one.

    Raises
    ------
    MedleyError: the network has no such decisions; the split has no record for it.
    """
    name, about = loaded.description.name, loaded.description
    samples: list[Sample] = []
    if bool(about.task) == store.restores:
        raise MedleyError(
            f"{store.path} has records of {', '.join(store.manifest.tasks)}, but {name} is for {', '.join(about.tasks)}"
        )
    if about.task:
        reader = RecordReader(store, about.tasks, about.inputs)
        records = reader.records(split)
    else:
        restorer = Restorer(loaded.model, about, next(loaded.model.parameters()).device)
        records = [one for task in about.tasks for one in store.records(split, task)]
    if not records:
        raise MedleyError(f"the split {split!r} of {store.path} has no record for {name}; choose another split")
    with watched(loaded.model, name) as (what, seen):
        for k, record in enumerate(records):
            store.verify(record)
            if about.task:
                predict_record(loaded.model, reader, record)
                samples.append(Sample(record.id, record.task, None, seen()))
            else:
                samples += _of_scan(restorer, store, record, slices, seen)
            progress(k + 1, len(records), record.id)
    vectors = np.array([one.seen.vector for one in samples])
    embedding, shares = principal_components(vectors) if vectors.size else (np.zeros((len(samples), 2)), np.zeros(2))
    tasks = [one.task for one in samples]
    between = share_between_groups(vectors, tasks) if vectors.size and len(set(tasks)) > 1 else float("nan")
    return Internals(name, what if vectors.size else "", tuple(samples), embedding, shares, between)


def _of_scan(
    restorer: Restorer, store: Store, record: Record, slices: int, seen: Callable[[], Seen]
) -> Iterator[Sample]:
    array = store.array(record, INPUT)
    for k in some_slices(record.shape[0], slices):
        slabs = slabs_of(array, [k], restorer.reach, record.spacing or UNKNOWN)
        restorer.restore_slabs(slabs, record.task, record.normalisation)
        yield Sample(record.id, record.task, k, seen())


@contextmanager
def watched(network: nn.Module, name: str = "the network") -> Iterator[tuple[str, Callable[[], Seen]]]:
    """Read the decisions of a network inside the context.

    Yields
    ------
    What its vectors are, and a function that returns what was read since its last call; for one sample at a time.

    Raises
    ------
    MedleyError: there is nothing to read in this network.
    """
    now = Seen()

    def take() -> Seen:
        nonlocal now
        before, now = now, Seen()
        return before

    kinds = {AMIR: _watch_amir, TAT: _watch_tat, UniH3: _watch_unih3, SlabNet: _watch_slab, CTAN: _watch_ctan}
    if type(network) not in kinds:
        supported = ", ".join(one.__name__ for one in kinds)
        raise MedleyError(f"{name} is a {type(network).__name__}; expected one of {supported}")
    what, handles = kinds[type(network)](network, lambda: now)
    try:
        if not handles:
            raise MedleyError(f"{name} is a {type(network).__name__} without the parts that depend on the task")
        yield what, take
    finally:
        for handle in handles:
            handle.remove()


_Watch = tuple[str, list[Handle]]


def _watch_amir(network: nn.Module, seen: Callable[[], Seen]) -> _Watch:
    """The instruction as the vector; for each spatial router the mean gate of every expert, and a map of the first."""

    def instruct(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen().vector = _numpy(output[0])

    def router(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def read(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            one = cast(SpatialRouter, module)
            chosen, log_gates, _ = one.route(*inputs)  # (H, W, 1, active)
            gates = torch.zeros(*chosen.shape[:3], len(one.experts)).scatter(3, chosen.cpu(), log_gates.exp().cpu())
            for expert, share in enumerate(gates.mean(dim=(0, 1, 2)).tolist()):
                seen().numbers[f"{name} expert {expert + 1}"] = share
            seen().maps[name] = chosen[:, :, 0, 0].cpu().numpy()

        return read

    amir = cast(AMIR, network)
    routers = {name: one for name, one in amir.named_children() if isinstance(one, SpatialRouter)}
    handles = [one.register_forward_pre_hook(router(name)) for name, one in routers.items()]
    return "routing instruction", [amir.instruction.register_forward_hook(instruct), *handles]


def _watch_tat(network: nn.Module, seen: Callable[[], Seen]) -> _Watch:
    """The generated kernels of all levels as the vector; the ratio of their part of the kernels to the shared part."""
    tat = cast(TAT, network)
    stages = {
        "latent": [tat.latent],
        "level3": [tat.decoder3],
        "level2": [tat.decoder2],
        "level1": [tat.decoder1, tat.refinement],
    }

    def generate(module: nn.Module, inputs: tuple[Tensor, ...], output: dict[str, tuple[Tensor, Tensor]]) -> None:
        for level, kernels in output.items():
            own, shared = 0.0, 0.0
            for block in (cast(Block, one) for stage in stages[level] for one in stage):
                for part, generated in zip((block.attention, block.feed_forward), kernels, strict=True):
                    conv = cast(AdaptiveDepthwiseConv, part.kernel)
                    own += float((conv.strength * generated[0]).square().sum())
                    shared += float(conv.weight.square().sum())
            seen().numbers[f"{level} generated / shared"] = (own / shared) ** 0.5
        seen().vector = np.concatenate([_numpy(one).ravel() for pair in output.values() for one in pair])

    return "generated kernels", [] if tat.generator is None else [tat.generator.register_forward_hook(generate)]


def _watch_unih3(network: nn.Module, seen: Callable[[], Seen]) -> _Watch:
    """The attention to every slot of the memory, mean over pixels and heads; its share for each slot group."""
    unih3 = cast(UniH3, network)

    def level(number: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def read(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            usage = cast(HomogeneityMemory, module).usage(inputs[0])[0]  # (T + 1, slots)
            for group, share in zip([*unih3.config["tasks"], "all"], usage.sum(dim=1).tolist(), strict=True):
                seen().numbers[f"level {number} slots of {group}"] = share
            finer = seen().vector if number > 1 else np.zeros(0)
            seen().vector = np.concatenate([finer, _numpy(usage).ravel()])

        return read

    memories = enumerate(unih3.memories, 1)
    return "attention to memory slots", [one.register_forward_pre_hook(level(k)) for k, one in memories]


def _watch_slab(network: nn.Module, seen: Callable[[], Seen]) -> _Watch:
    """The scales, shifts and strengths of all blocks as the vector; the factor of the output."""
    slab = cast(SlabNet, network)
    blocks = [one for one in slab.modules() if isinstance(one, GatedBlock)]

    def condition(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen().vector = np.concatenate([_numpy(block.modulate(output)[0]) for block in blocks])
        seen().numbers["factor of the output"] = float(slab.amplify(output).exp())

    return "modulation of all blocks", [slab.condition.register_forward_hook(condition)]


def _watch_ctan(network: nn.Module, seen: Callable[[], Seen]) -> _Watch:
    """For each target the share of its attention that goes to every other one, how evenly that is spread over the
    tokens (exp(entropy) / tokens, 1: evenly), the size of what attention adds to its own features, and for each pair of
    targets a map of the attention, mean over heads and tokens of the first.
    """
    ctan = cast(CTAN, network)
    grid: list[int] = []

    def note_grid(module: nn.Module, inputs: tuple[Tensor]) -> None:
        grid[:] = [-(-side // ctan.encoder.stride) for side in inputs[0].shape[2:]]

    def bottleneck(name: str, others: Sequence[str]) -> Callable[[nn.Module, tuple[Tensor, list[Tensor]]], None]:
        def read(module: nn.Module, inputs: tuple[Tensor, list[Tensor]]) -> None:
            attention, added = cast(CrossTaskBottleneck, module).attention(*inputs)  # (1, heads, N, M), (1, N, width)
            tokens = attention.mean(dim=(0, 1, 2)).split([one.shape[1] for one in inputs[1]])
            for other, part in zip(others, tokens, strict=True):
                seen().numbers[f"{name}: attention to {other}"] = float(part.sum())
                seen().attention[f"{name} to {other}"] = _numpy(part / part.mean()).reshape(grid)
            entropy = -torch.xlogy(attention, attention).sum(dim=3)
            seen().numbers[f"{name}: evenness"] = float(entropy.exp().mean()) / attention.shape[3]
            seen().numbers[f"{name}: added / own"] = float(added.norm() / inputs[0].norm())

        return read

    targets = list(ctan.bottlenecks)
    handles = [
        one.register_forward_pre_hook(bottleneck(name, [other for other in targets if other != name]))
        for name, one in ctan.bottlenecks.items()
        if cast(CrossTaskBottleneck, one).attends
    ]
    return "", [ctan.register_forward_pre_hook(note_grid), *handles] if handles else []


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
