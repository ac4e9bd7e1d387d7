"""Classical methods as baselines: Gaussian, total variation and non-local means, tuned on training scans.

All three come from scikit-image (the extra `baselines`) and work on one slice in [0, 1]. Their strength is either the
same for all slices, or a multiple of the noise level estimated in each slice; `tune` tries both. Sources:
total variation, Chambolle 2004; non-local means, Buades, Coll and Morel 2005, in the fast form of Froment 2014.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from medley.data.record import INPUT, Record
from medley.data.store import Store
from medley.errors import MedleyError
from medley.metrics.image import score, score_slices
from medley.metrics.noise import noise_level
from medley.normalisation import Normalisation
from medley.targets import IMAGE

Parameters = Mapping[str, Any]


def gaussian(image: np.ndarray, *, sigma: float) -> np.ndarray:
    """Gaussian filter. `image`: (row, column) in [0, 1]; `sigma` in pixels."""
    return _skimage("filters").gaussian(image, sigma, mode="nearest")


def total_variation(image: np.ndarray, *, strength: float, relative: bool) -> np.ndarray:
    """Chambolle's total variation. Its weight is `strength`, multiplied by the slice's `noise_level` if `relative`."""
    weight = strength * (noise_level(image) if relative else 1)
    return _skimage("restoration").denoise_tv_chambolle(image, weight) if weight > 0 else image


def non_local_means(image: np.ndarray, *, strength: float, relative: bool, patch: int, reach: int) -> np.ndarray:
    """Non-local means. Its h is `strength`, multiplied by the `noise_level` if `relative`.

    Patches are `patch` pixels wide and are searched for up to `reach` pixels away along each axis.
    """
    h = strength * (noise_level(image) if relative else 1)
    restore = _skimage("restoration").denoise_nl_means
    return restore(image, patch, reach, h=h, fast_mode=True) if h > 0 else image


def _powers(first: int, last: int) -> tuple[float, ...]:
    return tuple(2.0**k for k in range(first, last + 1))


@dataclass(frozen=True)
class Classical:
    """A classical method: `function(image, **parameters)`, the parameter that sets its strength, and the values to try.

    Attributes
    ----------
    knob: the parameter that is refined between grid points.
    grids: each maps parameters to the values to try, in all combinations.
    """

    name: str
    function: Callable[..., np.ndarray]
    knob: str
    grids: tuple[Mapping[str, Sequence[Any]], ...]

    def combinations(self) -> list[dict[str, Any]]:
        """Every set of parameters of the grids."""
        return [dict(zip(grid, values, strict=True)) for grid in self.grids for values in product(*grid.values())]


CLASSICAL: Mapping[str, Classical] = {
    method.name: method
    for method in (
        Classical("gaussian", gaussian, "sigma", ({"sigma": (0.25, *_powers(-1, 2))},)),
        Classical(
            "total-variation",
            total_variation,
            "strength",
            (
                {"relative": (True,), "strength": _powers(-3, 5)},
                {"relative": (False,), "strength": _powers(-12, -3)},
            ),
        ),
        Classical(
            "non-local-means",
            non_local_means,
            "strength",
            (
                {"relative": (True,), "patch": (3, 5), "reach": (1, 2, 4, 6), "strength": _powers(0, 4)},
                {"relative": (False,), "patch": (3, 5), "reach": (1, 2, 4, 6), "strength": _powers(-9, -2)},
            ),
        ),
    )
}


@dataclass(frozen=True)
class Tuned:
    """A classical method with the parameters that were best for a task.

    Attributes
    ----------
    psnr: mean PSNR (dB) of the `slices` training slices drawn with `seed`; `before` is that of the input.
    trials: all parameters that were tried, with their PSNR.
    """

    name: str
    task: str
    parameters: Parameters
    psnr: float
    before: float
    slices: int
    seed: int
    trials: tuple[tuple[Parameters, float], ...]

    def restore(self, slices: np.ndarray, normalisation: Normalisation) -> np.ndarray:
        """Restore `slices`, (slice, row, column) in physical units -> the same shape and units."""
        return _restored(CLASSICAL[self.name], self.parameters, slices, normalisation)

    def describe(self) -> str:
        """The parameters as JSON, for tables."""
        return json.dumps({name: _short(value) for name, value in self.parameters.items()})


@dataclass(frozen=True)
class Pair:
    """One slice of a store: the input and the target (1, row, column) in physical units."""

    input: np.ndarray
    target: np.ndarray
    normalisation: Normalisation


def tune(
    store: Store,
    task: str,
    method: str,
    *,
    split: str = "train",
    slices: int = 24,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tuned:
    """The parameters of a classical method with the best mean PSNR on slices drawn from the training subjects.

    First every point of the grid is tried, then half a step to both sides of the best. The same store, `slices` and
    `seed` give the same parameters.

    Parameters
    ----------
    method: a key of `CLASSICAL`. slices: how many to draw, evenly from all slices that are not blank.
    progress: called with (finished trials, number of trials).

    Raises
    ------
    MedleyError: the split has no slice of that task, or scikit-image is not installed.
    """
    chosen = CLASSICAL[method]
    pairs = draw_pairs(store, task, split=split, count=slices, seed=seed)
    before = _mean_psnr(lambda slices, _: slices, pairs, task)
    trials: list[tuple[Parameters, float]] = []
    grid = chosen.combinations()
    total = len(grid) + 2

    def try_all(combinations: Sequence[Parameters]) -> None:
        for parameters in combinations:
            trials.append((parameters, _mean_psnr(partial(_restored, chosen, parameters), pairs, task)))
            progress(len(trials), total)

    try_all(grid)
    best = max(trials, key=lambda trial: trial[1])[0]
    try_all([{**best, chosen.knob: best[chosen.knob] * factor} for factor in (2**-0.5, 2**0.5)])
    best, psnr = max(trials, key=lambda trial: trial[1])
    return Tuned(method, task, best, psnr, before, len(pairs), seed, tuple(trials))


def draw_pairs(store: Store, task: str, *, split: str, count: int, seed: int) -> list[Pair]:
    """`count` slices, or all if there are fewer, drawn evenly from the slices of a task that are not blank.

    Raises
    ------
    MedleyError: there are none.
    """
    every = [(record, k) for record in store.records(split, task) for k in range(record.shape[0])]
    pairs: list[Pair] = []
    for i in np.random.default_rng(seed).permutation(len(every)):
        if len(pairs) == count:
            break
        pair = _pair(store, *every[i])
        blank = score_slices(pair.target, pair.target, task, full_scale=pair.normalisation.high)["blank"]
        if not blank.any():
            pairs.append(pair)
    if not pairs:
        raise MedleyError(
            f"{store.path} has no slice of {task} in the split {split!r}, so no method can be tuned on it"
        )
    return pairs


def _pair(store: Store, record: Record, k: int) -> Pair:
    before, target = (store.array(record, name)[0, k : k + 1] for name in (INPUT, IMAGE))
    return Pair(before, target, record.normalisation)


def _mean_psnr(restore: Callable[[np.ndarray, Normalisation], np.ndarray], pairs: Sequence[Pair], task: str) -> float:
    restored = (restore(pair.input, pair.normalisation) for pair in pairs)
    scores = [
        score(image, pair.target, task, full_scale=pair.normalisation.high)["psnr"]
        for image, pair in zip(restored, pairs, strict=True)
    ]
    return float(np.mean(scores))


def _restored(
    method: Classical, parameters: Parameters, slices: np.ndarray, normalisation: Normalisation
) -> np.ndarray:
    images = normalisation.apply(slices)
    return normalisation.undo(np.stack([method.function(image, **parameters) for image in images])).astype(np.float32)


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _skimage(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"skimage.{module}")
    except ImportError as error:
        raise MedleyError(
            "the classical methods need scikit-image, which is not installed; install medley[baselines]"
        ) from error
