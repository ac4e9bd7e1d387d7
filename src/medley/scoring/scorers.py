"""Scorers: score rows of one record, for restoration methods and for multi-task networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from medley.data.readers import RecordReader
from medley.data.record import INPUT, Record
from medley.data.sampling import Draw
from medley.data.store import Store
from medley.errors import MedleyError
from medley.metrics.image import METRICS, score_slices
from medley.metrics.physical import measurements
from medley.metrics.targets import score_output
from medley.physics import DEGRADATIONS
from medley.scoring.methods import Method
from medley.scoring.rows import ScoreRow
from medley.slabs import UNKNOWN, slabs_of
from medley.targets import IMAGE, Target
from medley.tasks import Task

PIXELS_AT_ONCE = 2**20  # a chunk has at most this many pixels, or one slice

Advance = Callable[[int], None]  # called with the number of finished steps of the record


class Scorer(Protocol):
    """Scores one method on records of a store."""

    @property
    def name(self) -> str:
        """Name of the method in tables."""
        ...

    def steps(self, record: Record) -> int:
        """Number of progress steps for a record."""
        ...

    def score(self, store: Store, record: Record, advance: Advance = lambda steps: None) -> list[ScoreRow]:
        """One row for every target of the record.

        Raises
        ------
        MedleyError: the output is not finite, or an array cannot be read.
        """
        ...


class RestorationScorer:
    """Scores a restoration method by the papers' protocol (`medley.metrics.image`), a few slices at a time.

    The measures of `medley.metrics.physical` are added where they are defined.

    Parameters
    ----------
    slices: number of slices of each record that are scored, as in `some_slices`; None: all.
    """

    def __init__(self, method: Method, slices: int | None = None) -> None:
        self.method, self.name, self.slices = method, method.name, slices

    def steps(self, record: Record) -> int:
        """The number of slices."""
        return len(self._slices(record))

    def score(self, store: Store, record: Record, advance: Advance = lambda steps: None) -> list[ScoreRow]:
        """The row of the target "image", with means over the slices that are not blank."""
        arrays = [store.array(record, name) for name in (INPUT, IMAGE)]
        task, spacing = store.task(record), record.spacing or UNKNOWN
        measured = measurements(task, spacing, record.normalisation.high)
        parts, done = [], 0
        for indices in _chunks(self._slices(record), record.shape):
            slabs = slabs_of(arrays[0], indices, self.method.reach, spacing)
            target = arrays[1][0, indices]
            restored = self.method.restore(slabs, record.task, record.normalisation)
            if not np.isfinite(restored).all():
                raise MedleyError(f"the output of {self.name} for {record.id} contains values that are not finite")
            parts.append(score_slices(restored, target, record.task, full_scale=record.normalisation.high))
            for one in measured:
                one.add(restored, target, indices)
            done += len(slabs)
            advance(done)
        scores = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        kept = ~scores["blank"]
        means = {name: float(scores[name][kept].mean()) if kept.any() else float("nan") for name in METRICS}
        measures = {name: value for one in measured for name, value in one.values().items()}
        row = ScoreRow(
            method=self.name,
            task=record.task,
            target=IMAGE,
            subject=record.subject,
            record=record.id,
            split=record.split,
            values={"slices": int(kept.sum()), **means, **measures, **strength_of(record)},
            window=_window(task, record),
            settings=self.method.settings(record.task),
        )
        return [row]

    def _slices(self, record: Record) -> range | list[int]:
        return range(record.shape[0]) if self.slices is None else some_slices(record.shape[0], self.slices)


class PredictionScorer:
    """Scores a multi-task network on whole records, on the grid of the store.

    Parameters
    ----------
    reader: for the targets and inputs of the network.
    dvh: whether maps get the scores of the dose-volume histogram, which take longer.
    """

    def __init__(self, name: str, network: nn.Module, reader: RecordReader, *, dvh: bool = True) -> None:
        self.name, self.network, self.reader, self.dvh = name, network, reader, dvh

    def steps(self, record: Record) -> int:
        """One step."""
        return 1

    def score(self, store: Store, record: Record, advance: Advance = lambda steps: None) -> list[ScoreRow]:
        """One row for each target that the record has."""
        outputs = predict_record(self.network, self.reader, record)
        rows = [
            ScoreRow(
                method=self.name,
                task=record.task,
                target=target.name,
                subject=record.subject,
                record=record.id,
                split=record.split,
                values=values,
            )
            for target in self.reader.targets
            if record.has(target) and (values := self._values(store, record, target, outputs[target.name]))
        ]
        advance(1)
        return rows

    def _values(self, store: Store, record: Record, target: Target, output: np.ndarray) -> dict[str, float]:
        if target.kind == "classes":
            return score_output(target, output, record.labels[target.name])
        truth = store.array(record, target.name)[...]
        if target.kind == "structures":
            return score_output(target, output, truth, drawn=record.drawn[target.name])
        within = store.array(record, target.within)[0] if target.within else None
        masks = drawn_masks(store, record) if self.dvh else None
        return score_output(target, output, truth[0], spacing=record.spacing, within=within, masks=masks)


@torch.inference_mode()
def predict_record(network: nn.Module, reader: RecordReader, record: Record) -> dict[str, np.ndarray]:
    """The decoded outputs of a multi-task network for a record, on the grid of the store.

    Returns
    -------
    Structures: probabilities (K, *spatial). A map: (*spatial) in its unit, 0 outside its region. Classes: probabilities
    (K,).
    """
    sample = reader(Draw(record))
    device = next(network.parameters()).device
    raw = network(torch.from_numpy(sample.input)[None].to(device))
    outputs = {}
    for target in reader.targets:
        region: Any = torch.from_numpy(sample.counts[target.name]) if target.kind == "map" else None
        decoded = target.decode(raw[target.name][0].float().cpu(), region=region).numpy()
        outputs[target.name] = decoded[0] if target.kind == "map" else decoded
    return outputs


def drawn_masks(store: Store, record: Record) -> dict[str, np.ndarray]:
    """The structures that were drawn for a record, (*spatial) bool each."""
    masks: dict[str, np.ndarray] = {}
    for name, drawn in record.drawn.items():
        names = store.task(record).target(name).names
        array = store.array(record, name)[...]
        masks |= {one: array[names.index(one)] > 0 for one in drawn}
    return masks


def some_slices(count: int, wanted: int) -> list[int]:
    """At most `wanted` of `count` slices, evenly spread over the middle half of a scan, in ascending order."""
    first, length = count // 4, max(count // 2, 1)
    wanted = min(wanted, length)
    return [first + k * length // wanted for k in range(wanted)]


def _chunks(slices: range | Sequence[int], shape: tuple[int, ...]) -> Iterator[list[int]]:
    """Slices that are processed together."""
    step = max(1, PIXELS_AT_ONCE // (shape[1] * shape[2]))
    return (list(slices[first : first + step]) for first in range(0, len(slices), step))


def strength_of(record: Record) -> dict[str, float]:
    """{"strength": that of the simulated degradation}; {} for records that were not simulated."""
    kind = DEGRADATIONS.get(record.degradation.get("name", ""))
    return {"strength": kind.strength(record.degradation["parameters"])} if kind else {}


def _window(task: Task, record: Record) -> str:
    low, high = task.window
    full = record.normalisation.high
    own = task.scaled or task.factor(full) != 1
    return f"[{low:g}, {high:g}]" + (f" of {full:.6g} {task.unit} = {high:g}" if own else f" {task.unit}")
