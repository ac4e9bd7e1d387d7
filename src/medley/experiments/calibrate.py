"""Fits the expected error of a restorer on training subjects, and calibrates it on validation subjects."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from medley.data.record import INPUT, Record
from medley.data.store import Store
from medley.errors import MedleyError
from medley.inference.expected_error import ErrorModel, StoredError, StoredLayer, conformal_factor
from medley.inference.restorer import Restorer
from medley.metrics.error_features import FEATURES, error_features, slice_change
from medley.metrics.tissue import tissue
from medley.scoring.scorers import some_slices, strength_of
from medley.slabs import UNKNOWN, slabs_of
from medley.targets import IMAGE
from medley.tasks import Task

FEWEST = 4  # validation subjects: two to calibrate on, two to check
_RECORDS, _SLICES, _PIXELS = 80, 3, 600  # of a task, of a record, of a slice
_WEAKER = 0.3  # share of the training slices that are blended with the input, as with --strength
_WIDTH, _STEPS, _BATCH, _LEARNING_RATE = 16, 2000, 4096, 5e-3
_GROUPS = 3  # of slices, with a factor each; of strengths in the table

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Pixels:
    """Some pixels of one restored record.

    Attributes
    ----------
    strength: of the simulated degradation; nan if it was not simulated.
    features: (n, feature). errors: (n,) |error| in the scale of the network. changes: (n,) the `slice_change` of the
        slice of each pixel.
    width: of the range of the task, in its unit.
    """

    record: str
    subject: str
    strength: float
    features: np.ndarray
    errors: np.ndarray
    changes: np.ndarray
    width: float


@dataclass(frozen=True)
class Coverage:
    """How many pixels lie in the intervals, for validation records that were not used to find the factor.

    Attributes
    ----------
    low, high: strengths of the degradation; nan: all. coverage: share of the pixels. least: that of the record with the
        smallest share. half_width: mean, in the unit of the task.
    """

    task: str
    low: float
    high: float
    records: int
    subjects: int
    coverage: float
    least: float
    half_width: float
    unit: str


def calibrate(
    restorer: Restorer, store: Store, *, seed: int = 0, progress: Progress = lambda *_: None
) -> tuple[dict[str, StoredError], list[Coverage]]:
    """The error model of every task of a restorer that the store has, and the coverage that was measured.

    For the coverage the validation subjects are divided into two halves; the factors of each half are checked on the
    other one. The stored factors are those of all validation subjects.

    Parameters
    ----------
    seed: of the pixels that are drawn, and of the training. progress: called with (done, all, what).

    Raises
    ------
    MedleyError: no task has training scans and `FEWEST` validation subjects that show enough tissue.
    """
    models, table = {}, []
    for name in restorer.description.tasks:
        train, valid = (_evenly(store.records(split, name), _RECORDS) for split in ("train", "valid"))
        if not train or len({record.subject for record in valid}) < FEWEST:
            continue
        rng = np.random.default_rng(seed)
        total = len(train) + len(valid)
        drawn: dict[str, list[Pixels]] = {"train": [], "valid": []}
        for k, record in enumerate([*train, *valid]):
            progress(k, total, f"restoring {record.id}")
            weaker = _WEAKER if record.split == "train" else 0.0
            found = _pixels(restorer, store, record, weaker, rng)
            if found is not None:
                drawn[record.split].append(found)
        subjects = sorted({one.subject for one in drawn["valid"]})
        if not drawn["train"] or len(subjects) < FEWEST:
            continue
        progress(total, total, f"fitting the expected error of {name}")
        fitted = _fitted(drawn["train"], seed)
        models[name] = _calibrated(fitted, drawn["valid"])
        halves = [[one for one in drawn["valid"] if one.subject in subjects[half::2]] for half in (0, 1)]
        checked = []
        for half, other in (halves, halves[::-1]):
            model = ErrorModel(_calibrated(fitted, half))
            checked += [(one, _half_widths(model, one)) for one in other]
        table += _coverage(store.manifest.tasks[name], checked)
    if not models:
        raise MedleyError(
            f"{store.path}: has no task of {restorer.description.name} with training scans and {FEWEST} validation "
            "subjects that show tissue; give a store that has both"
        )
    return models, table


def _evenly(records: Sequence[Record], count: int) -> list[Record]:
    return list(records[:: max(1, math.ceil(len(records) / count))])


def _pixels(restorer: Restorer, store: Store, record: Record, weaker: float, rng: np.random.Generator) -> Pixels | None:
    """Pixels of tissue of a few slices; None if there is no tissue. A share `weaker` of the slices is blended."""
    task, normalisation = store.task(record), record.normalisation
    width = normalisation.high - normalisation.low
    inputs, targets = store.array(record, INPUT), store.array(record, IMAGE)
    features, errors, changes = [], [], []
    for k in some_slices(record.shape[0], _SLICES):
        slabs = slabs_of(inputs, [k], restorer.reach, record.spacing or UNKNOWN)
        before, truth = slabs.centre[0], targets[0, k]
        after = restorer.restore_slabs(slabs, task, normalisation)[0]
        if rng.random() < weaker:
            after = before + np.float32(rng.random()) * (after - before)
        inside = tissue(before, task, normalisation.high)
        places = np.flatnonzero(inside)
        if len(places) < _PIXELS:
            continue
        places = rng.choice(places, _PIXELS, replace=False)
        scaled = [(one - normalisation.low) / width for one in (before, after)]
        changes.append(np.full(_PIXELS, slice_change(scaled[0], scaled[1], inside)))
        features.append(error_features(*scaled).reshape(len(FEATURES), -1)[:, places].T)
        errors.append((np.abs(after - truth) / width).ravel()[places])
    if not features:
        return None
    return Pixels(
        record=record.id,
        subject=record.subject,
        strength=strength_of(record).get("strength", math.nan),
        features=np.concatenate(features),
        errors=np.concatenate(errors),
        changes=np.concatenate(changes),
        width=task.range[1] - task.range[0],
    )


def _fitted(pixels: Sequence[Pixels], seed: int) -> StoredError:
    """The network that minimises ln s + |error| / s: the likelihood of a Laplace distribution of scale s."""
    features = np.concatenate([one.features for one in pixels])
    mean, deviation = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-3)
    x = torch.from_numpy((features - mean) / deviation)
    errors = torch.from_numpy(np.concatenate([one.errors for one in pixels]).astype(np.float32))
    generator = torch.Generator().manual_seed(seed)
    sizes = (len(FEATURES), _WIDTH, _WIDTH, 1)
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    with torch.no_grad():
        for layer in layers:
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) / layer.weight.shape[1] ** 0.5)
            layer.bias.zero_()
        layers[-1].bias.fill_(math.log(float(errors.mean()) + 1e-6))
    optimizer = torch.optim.Adam([one for layer in layers for one in layer.parameters()], _LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        chosen = torch.randint(len(x), (_BATCH,), generator=generator)
        logarithm = _forward(layers, x[chosen])
        loss = (logarithm + errors[chosen] * torch.exp(-logarithm)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return StoredError(
        features=FEATURES,
        mean=_plain(mean),
        deviation=_plain(deviation),
        layers=tuple(
            StoredLayer(weight=tuple(map(_plain, layer.weight.detach().numpy())), bias=_plain(layer.bias.detach()))
            for layer in layers
        ),
        edges=(),
        factors=(1.0,),
        subjects=0,
    )


def _calibrated(fitted: StoredError, pixels: Sequence[Pixels]) -> StoredError:
    """The model with the factors of three groups of slices, as large as each other, by their change."""
    changes = np.concatenate([one.changes for one in pixels])
    model = ErrorModel(fitted)
    ratios = np.concatenate([one.errors / _half_widths(model, one) for one in pixels])
    edges = np.unique(np.quantile(changes, [k / _GROUPS for k in range(1, _GROUPS)]))
    groups = np.searchsorted(edges, changes, side="right")
    # An edge below which there is no slice separates nothing.
    edges = edges[np.isin(np.arange(len(edges)), groups)]
    groups = np.searchsorted(edges, changes, side="right")
    factors = tuple(conformal_factor([ratios[groups == k]]) for k in range(len(edges) + 1))
    subjects = len({one.subject for one in pixels})
    return fitted.model_copy(update={"edges": tuple(edges.tolist()), "factors": factors, "subjects": subjects})


def _half_widths(model: ErrorModel, pixels: Pixels) -> np.ndarray:
    """(n,) of the intervals, in the scale of the network."""
    return model.factors(pixels.changes) * model.expected(np.ascontiguousarray(pixels.features.T))


def _forward(layers: Sequence[nn.Linear], x: Tensor) -> Tensor:
    for layer in layers[:-1]:
        x = torch.tanh(layer(x))
    return layers[-1](x).squeeze(1)


def _plain(values: np.ndarray | Tensor) -> tuple[float, ...]:
    """Values with six digits, as they are stored."""
    return tuple(float(f"{float(one):.6g}") for one in values)


def _coverage(task: Task, checked: Sequence[tuple[Pixels, np.ndarray]]) -> list[Coverage]:
    """Of all records with their half-widths, then of those of each third of the strengths."""
    finite = sorted({one.strength for one, _ in checked if math.isfinite(one.strength)})
    edges = np.quantile(finite, np.linspace(0, 1, _GROUPS + 1)).tolist() if len(finite) > _GROUPS else []
    rows = [_of_records(task, math.nan, math.nan, checked)]
    for low, high in pairwise(edges):
        last = high == edges[-1]
        part = [each for each in checked if low <= each[0].strength < high or (last and each[0].strength == high)]
        rows.append(_of_records(task, low, high, part))
    return rows


def _of_records(task: Task, low: float, high: float, checked: Sequence[tuple[Pixels, np.ndarray]]) -> Coverage:
    shares = [float((one.errors <= half_widths).mean()) for one, half_widths in checked]
    return Coverage(
        task=task.name,
        low=low,
        high=high,
        records=len(checked),
        subjects=len({one.subject for one, _ in checked}),
        coverage=float(np.mean(shares)),
        least=min(shares),
        half_width=float(np.mean([half_widths.mean() * one.width for one, half_widths in checked])),
        unit=task.unit,
    )
