"""What is in a store, and what is wrong: damage, implausible values, pairs that do not match, shared subjects."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from medley.data.record import INPUT, Record
from medley.data.store import Store
from medley.errors import MedleyError
from medley.metrics.alignment import estimate_shift
from medley.targets import IMAGE
from medley.volume import evenly_spread

MISALIGNED = 0.5  # pixels: a pair that is displaced by more is reported
SLICES = 3  # of a record whose displacement is estimated
PAIRS = 100  # records of each task and split whose displacement is estimated, evenly spaced
SCALES = (0.5, 2.0)  # contrast of an input relative to its target that is not reported
_SAMPLE = 2**20  # values of an array from which its percentiles are computed
_QUANTILES = (1, 50, 99)


@dataclass(frozen=True)
class Values:
    """The values of one array: the smallest, percentiles 1, 50 and 99, the largest, and the share outside the task's
    range.
    """

    low: float
    percentiles: tuple[float, float, float]
    high: float
    outside: float


@dataclass(frozen=True)
class Pair:
    """An input compared with its target "image".

    Attributes
    ----------
    shift: of the input along (rows, columns) in pixels, the median over slices; None without structure.
    scale: slope of the input over the target, 1 for equal contrast. correlation: of their values.
    """

    shift: tuple[float, float] | None
    scale: float
    correlation: float

    @property
    def distance(self) -> float:
        """The length of the shift in pixels; 0 if it is unknown."""
        return float(np.hypot(*self.shift)) if self.shift else 0.0


@dataclass
class StoreCheck:
    """The result of `check_store`.

    Attributes
    ----------
    records: those that can be read. damaged: their number among all. groups: {(task, split): records}.
    values: {record: {array: Values}}. pairs: {record: Pair}.
    labels: {(task, split): number of records with each target and each class}.
    problems: one sentence each.
    """

    records: list[Record] = field(default_factory=list)
    damaged: int = 0
    groups: dict[tuple[str, str], list[Record]] = field(default_factory=lambda: defaultdict(list))
    values: dict[str, dict[str, Values]] = field(default_factory=dict)
    pairs: dict[str, Pair] = field(default_factory=dict)
    labels: dict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    problems: list[str] = field(default_factory=list)


def check_store(store: Store, progress: Callable[[int, int, str], None] = lambda done, total, name: None) -> StoreCheck:
    """Read all of a store, and compare it with itself and with its tasks.

    Reported are: arrays that are damaged or incomplete; values that are not finite; inputs or targets with one value
    only; values that seem to be scaled to 0..1 already; an input whose contrast is less than half or more than twice
    that of its target; a pair that is displaced by more than `MISALIGNED` pixels; a subject in two splits; the same
    image in two splits.
    """
    found = StoreCheck()
    records = store.records()
    for record in records:
        found.groups[record.task, record.split].append(record)
        found.labels[record.task, record.split].update(_targets_of(store, record))
    found.problems += _shared_subjects(records)
    compared = {one.id for group in found.groups.values() for one in group[:: -(-len(group) // PAIRS)]}
    for k, record in enumerate(records):
        progress(k, len(records), f"checking {record.id}")
        try:
            store.verify(record)
        except MedleyError as error:
            found.problems.append(str(error))
            found.damaged += 1
            continue
        found.records.append(record)
        found.values[record.id] = {
            name: _values(store, record, name) for name in (INPUT, IMAGE) if name in record.checksums
        }
        found.problems += _implausible(store, record, found.values[record.id])
        if IMAGE in record.checksums and record.id in compared:
            found.pairs[record.id] = pair = _compared(store, record)
            found.problems += _mismatch(store, record, pair)
    found.problems += _shared_images(store, found.records)
    progress(len(records), len(records), "checked")
    return found


def _targets_of(store: Store, record: Record) -> Iterable[str]:
    for target in store.task(record).targets:
        if target.kind == "classes" and record.has(target):
            yield f"{target.name} {record.labels[target.name]}"
        elif target.kind == "structures":
            yield from record.drawn.get(target.name, ())
        elif record.has(target):
            yield target.name


def _values(store: Store, record: Record, name: str) -> Values:
    array = store.array(record, name)
    low, high, outside, sample = np.float64(np.inf), np.float64(-np.inf), 0.0, []
    bottom, top = store.task(record).range
    step = max(1, int(np.prod(array.shape)) // _SAMPLE)
    for k in range(array.shape[1]):
        values = array[:, k].ravel()
        low, high = np.minimum(low, values.min()), np.maximum(high, values.max())  # NaN remains
        outside += float(np.mean((values < bottom) | (values > top))) / array.shape[1]
        sample.append(values[::step])
    middle = np.percentile(np.concatenate(sample), _QUANTILES)
    return Values(float(low), (float(middle[0]), float(middle[1]), float(middle[2])), float(high), outside)


def _implausible(store: Store, record: Record, arrays: dict[str, Values]) -> Iterable[str]:
    task = store.task(record)
    for name, values in arrays.items():
        where = f"{store.path}: {name} of {record.id}"
        if not np.isfinite([values.low, values.high]).all():
            yield f"{where} has values that are not finite; correct the source and prepare the store again"
        elif values.low == values.high:
            yield f"{where} has the same value, {values.low:g}, everywhere; leave the source out with --exclude"
        elif task.unit and not task.scaled and values.low >= -0.01 and values.high <= 1.01 < task.range[1] / 10:
            yield (
                f"{where} has values from {values.low:g} to {values.high:g}, as if scaled to 0..1, but {task.name} "
                f"needs {task.unit}; prepare the store from files that are not scaled"
            )


def _compared(store: Store, record: Record) -> Pair:
    """The pair at a few slices, the middle ones of equal parts of the stack."""
    image, target = store.array(record, INPUT), store.array(record, IMAGE)
    chosen = evenly_spread(image.shape[1], SLICES)
    pairs = [(image[0, k].astype(np.float64), target[0, k].astype(np.float64)) for k in chosen]
    shifts = [shift for low, high in pairs if (shift := estimate_shift(high, low))]
    low, high = (np.concatenate([one[side].ravel() for one in pairs]) for side in (0, 1))
    low, high = low - low.mean(), high - high.mean()
    shared, bad, good = float(low @ high), float(low @ low), float(high @ high)
    middle = np.median(shifts, axis=0) if shifts else None
    return Pair(
        None if middle is None else (float(middle[0]), float(middle[1])),
        scale=shared / good if good > 0 else 1.0,
        correlation=shared / np.sqrt(bad * good) if bad * good > 0 else 1.0,
    )


def _mismatch(store: Store, record: Record, pair: Pair) -> Iterable[str]:
    where = f"{store.path}: the input of {record.id}"
    if pair.distance > MISALIGNED and pair.shift:
        yield (
            f"{where} is displaced against its target by {pair.shift[0]:+.2f} rows and {pair.shift[1]:+.2f} columns "
            f"(at most {MISALIGNED} pixels in all are expected); register the two images first, or leave the pair out"
        )
    elif not SCALES[0] <= pair.scale <= SCALES[1]:
        yield (
            f"{where} has {pair.scale:.2g} times the contrast of its target; check the units of the two images and "
            "that they show the same"
        )


def _shared_subjects(records: Iterable[Record]) -> Iterable[str]:
    splits = defaultdict(set)
    for record in records:
        splits[record.subject].add(record.split)
    for subject, names in sorted(splits.items()):
        if len(names) > 1:
            yield (
                f"subject {subject} is in the splits {' and '.join(sorted(names))}; scores on them are too good: give "
                "each person one split and prepare the store again"
            )


def _shared_images(store: Store, records: Iterable[Record]) -> Iterable[str]:
    """Targets (inputs where there is no target "image") that are equal in two splits, for subjects of two names."""
    seen: dict[tuple[str, tuple[int, ...]], Record] = {}
    for record in records:
        name = IMAGE if IMAGE in record.checksums else INPUT
        first = seen.setdefault((record.checksums[name], record.shape), record)
        if first.split != record.split and first.subject != record.subject:
            one, other = (store.array(each, name)[...] for each in (first, record))
            if one.shape == other.shape and (one == other).all() and one.min() < one.max():
                yield (
                    f"{first.id} ({first.split}) and {record.id} ({record.split}) have the same {name}, so a person is "
                    "in two splits under two names; leave one out and prepare the store again"
                )
