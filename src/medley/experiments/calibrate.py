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
from medley.metrics.error_features import FEATURES, error_features, tissue
from medley.physics import DEGRADATIONS
from medley.scoring.scorers import some_slices
from medley.slabs import UNKNOWN, slabs_of
from medley.targets import IMAGE

FEWEST = 4  # validation subjects: two to calibrate on, two to check
_RECORDS, _SLICES, _PIXELS = 80, 3, 600  # of a task, of a record, of a slice
_WEAKER = 0.3  # share of the training slices that are blended with the input, as with --strength
_WIDTH, _STEPS, _BATCH, _LEARNING_RATE = 16, 2000, 4096, 5e-3
_BINS = 3  # of the strength of the degradation

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Pixels:
    """Some pixels of one restored record.

    Attributes
    ----------
    strength: of the simulated degradation; nan if it was not simulated.
    features: (n, feature). errors: (n,) |error| in the scale of the network.
    width: of the range of the task, in its unit.
    """

    record: str
    subject: str
    strength: float
    features: np.ndarray
    errors: np.ndarray
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

    For the coverage the validation subjects are divided into two halves; the factor of each half is checked on the
    other one. The stored factor is that of all validation subjects.

    Parameters
    ----------
    seed: of the pixels that are drawn, and of the training. progress: called with (done, all, what).

    Raises
    ------
    MedleyError: no task has training scans and `FEWEST` validation subjects.
    """
    models, table = {}, []
    for name in restorer.description.tasks:
        train, valid = (_evenly(store.records(split, name), _RECORDS) for split in ("train", "valid"))
        subjects = sorted({record.subject for record in valid})
        if not train or len(subjects) < FEWEST:
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
        progress(total, total, f"fitting the expected error of {name}")
        stored = _fitted(drawn["train"], seed)
        ratios = [one.errors / _expected(stored, one) for one in drawn["valid"]]
        halves = [{*subjects[half::2]} for half in (0, 1)]
        factors = [
            conformal_factor([r for r, one in zip(ratios, drawn["valid"], strict=True) if one.subject in half])
            for half in halves
        ]
        # The factor for each record is that of the other half.
        checked = [
            (one, ratio, factors[0] if one.subject in halves[1] else factors[1])
            for one, ratio in zip(drawn["valid"], ratios, strict=True)
        ]
        models[name] = stored.model_copy(update={"factor": conformal_factor(ratios), "subjects": len(subjects)})
        table += _coverage(name, store.manifest.tasks[name].unit, checked, stored)
    if not models:
        raise MedleyError(
            f"{store.path}: has no task of {restorer.description.name} with training scans and {FEWEST} validation "
            "subjects; give a store that has both"
        )
    return models, table


def _evenly(records: Sequence[Record], count: int) -> list[Record]:
    return list(records[:: max(1, math.ceil(len(records) / count))])


def _pixels(restorer: Restorer, store: Store, record: Record, weaker: float, rng: np.random.Generator) -> Pixels | None:
    """Pixels of tissue of a few slices; None if there is no tissue. A share `weaker` of the slices is blended."""
    task, normalisation = store.task(record), record.normalisation
    width = normalisation.high - normalisation.low
    features, errors = [], []
    for k in some_slices(record.shape[0], _SLICES):
        slabs = slabs_of(store.array(record, INPUT), [k], restorer.reach, record.spacing or UNKNOWN)
        before, truth = slabs.centre[0], store.array(record, IMAGE)[0, k]
        after = restorer.restore_slabs(slabs, task, normalisation)[0]
        if rng.random() < weaker:
            after = before + np.float32(rng.random()) * (after - before)
        places = np.flatnonzero(tissue(before, task, normalisation.high))
        if len(places) < _PIXELS:
            continue
        places = rng.choice(places, _PIXELS, replace=False)
        scaled = [(one - normalisation.low) / width for one in (before, after)]
        features.append(error_features(*scaled).reshape(len(FEATURES), -1)[:, places].T)
        errors.append((np.abs(after - truth) / width).ravel()[places])
    if not features:
        return None
    kind = DEGRADATIONS.get(record.degradation.get("name", ""))
    strength = kind.strength(record.degradation["parameters"]) if kind else math.nan
    of_range = task.range[1] - task.range[0]
    return Pixels(record.id, record.subject, strength, np.concatenate(features), np.concatenate(errors), of_range)


def _fitted(pixels: Sequence[Pixels], seed: int) -> StoredError:
    """The network that minimises ln s + |error| / s: the likelihood of a Laplace distribution of scale s."""
    if not pixels:
        raise MedleyError("the training scans show no tissue to fit the expected error on")
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
        factor=1.0,
        subjects=0,
    )


def _forward(layers: Sequence[nn.Linear], x: Tensor) -> Tensor:
    for layer in layers[:-1]:
        x = torch.tanh(layer(x))
    return layers[-1](x).squeeze(1)


def _plain(values: np.ndarray | Tensor) -> tuple[float, ...]:
    """Values with six digits, as they are stored."""
    return tuple(float(f"{float(one):.6g}") for one in values)


def _expected(stored: StoredError, pixels: Pixels) -> np.ndarray:
    return ErrorModel(stored).expected(np.ascontiguousarray(pixels.features.T))


def _coverage(
    task: str, unit: str, checked: Sequence[tuple[Pixels, np.ndarray, float]], stored: StoredError
) -> list[Coverage]:
    """All records, then those of each third of the strengths."""
    strengths = [one.strength for one, _, _ in checked]
    finite = sorted({strength for strength in strengths if math.isfinite(strength)})
    edges = np.quantile(finite, np.linspace(0, 1, _BINS + 1)).tolist() if len(finite) > _BINS else []
    rows = []
    for low, high in [(-math.inf, math.inf), *pairwise(edges)]:
        last = not edges or high == edges[-1]
        part = [
            each
            for each in checked
            if math.isinf(low) or low <= each[0].strength < high or (last and each[0].strength == high)
        ]
        shares = [float((ratio <= factor).mean()) for _, ratio, factor in part]
        widths = [float((factor * _expected(stored, one)).mean() * one.width) for one, _, factor in part]
        if part:
            subjects = len({one.subject for one, _, _ in part})
            first, end = (math.nan, math.nan) if math.isinf(low) else (low, high)
            coverage, half_width = float(np.mean(shares)), float(np.mean(widths))
            rows.append(Coverage(task, first, end, len(part), subjects, coverage, min(shares), half_width, unit))
    return rows
