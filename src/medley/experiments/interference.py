"""Interference between tasks: what a step for one task does to the loss of another, and how their gradients agree.

For the loss L_i of task i, the parameters θ of a set of layers, and batches x, with g_i = gradient of L_i(x; θ),

    D_ij = mean over x of  g_i · g_j / |g_j|
    interference I_ij = D_ij / D_ii
    cosine C_ij = mean over x of  g_i · g_j / (|g_i| |g_j|)

D_ij is how much a step along the gradient of task j lowers L_i, per length of the step: the limit of
(L_i(θ) - L_i(θ - λ g_j / |g_j|)) / λ for short steps. I_ij is the fraction of its own progress that task i gets from a
step of the same length for task j: 1 on the diagonal, 0 if the step has no effect, negative if it harms. This is the
metric that AMIR (arXiv 2405.19769) takes from Uni-Perceiver-MoE (Zhu et al., arXiv 2206.04674, sec. 3), to first order,
with one choice of medley: the ratio is that of the means, not the mean of ratios, whose denominators can be near 0.

The gradient of L_i can also be that of a second, independent batch. Then D_ij is about what the tasks learn from each
other, not about the samples of one step; it needs many batches, and where training has ended, D_ii is near 0.

The losses are those of the objective without weights, in evaluation mode: without the noise and the auxiliary loss of
routers, and with the stored statistics of batch normalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from medley.data.batch import Batch
from medley.errors import MedleyError
from medley.training.balance import Losses

RESAMPLES = 2000
FEWEST = 6  # with fewer batches, no interval is given
ALL = "*"

_Gradient = dict[int, Tensor] | None


@dataclass(frozen=True)
class Effect:
    """The effect of steps for one task on another, for one set of layers; a row of the table.

    Attributes
    ----------
    network, step: name of the network, and the training steps that it has had.
    layers: the pattern of the parameters' names. parameters: how many numbers they are.
    task, other: i and j.
    interference, cosine: I_ij and C_ij, each with a 95 % interval over resampled batches (percentiles of `RESAMPLES`
        draws). NaN if no batch has both tasks. Interference is also NaN where steps for a task do not lower its own
        loss; its interval is NaN if this holds in more than 2.5 % of the draws.
    drop: D_ij, in units of the loss per length. batches: number of those that have both tasks.
    """

    network: str
    step: int
    layers: str
    parameters: int
    task: str
    other: str
    interference: float
    interference_low: float
    interference_high: float
    cosine: float
    cosine_low: float
    cosine_high: float
    drop: float
    batches: int


def measure(
    network: nn.Module,
    losses: Callable[[Batch], Losses],
    tasks: Sequence[str],
    pairs: Iterable[tuple[Batch, Batch]],
    *,
    name: str = "",
    step: int = 0,
    layers: Sequence[str] = (ALL,),
) -> list[Effect]:
    """The effect of every task on every task, for each set of layers.

    Parameters
    ----------
    network: is in evaluation mode afterwards.
    losses: the losses of the network on a batch by task; tasks without labels are absent.
    tasks: at least two.
    pairs: the batch of g_j and that of g_i, which can be the same; on the device of the network.
    name, step: for the table.
    layers: patterns of names such as "encoder1" or "decoder?.0"; each is one set. Only parameters that several tasks
        share are used (`shared_parameters` of a multi-task network).

    Raises
    ------
    MedleyError: no shared parameter has a name like one of the patterns; there are fewer than two tasks.
    """
    if len(tasks) < 2:
        raise MedleyError(f"interference needs at least two tasks, but there is only {', '.join(tasks) or 'none'}")
    network.eval()
    sets = {pattern: shared_parameters(network, pattern) for pattern in layers}
    drops: dict[str, list[np.ndarray]] = {pattern: [] for pattern in layers}
    cosines: dict[str, list[np.ndarray]] = {pattern: [] for pattern in layers}
    wanted = list({id(one): one for group in sets.values() for one in group}.values())
    for first, second in pairs:
        steps = _gradients(losses(first), wanted, tasks)
        slopes = steps if second is first else _gradients(losses(second), wanted, tasks)
        for pattern, parameters in sets.items():
            along, down = ([_joined(one, parameters) for one in each] for each in (steps, slopes))
            lengths = np.sqrt(np.diagonal(_products(along, along)))
            with np.errstate(divide="ignore", invalid="ignore"):
                drops[pattern].append(_products(down, along) / lengths)
                cosines[pattern].append(_products(along, along) / np.outer(lengths, lengths))
    return [
        _effect(name, step, pattern, sets[pattern], tasks, (i, j), np.array(drops[pattern]), np.array(cosines[pattern]))
        for pattern in layers
        for i in range(len(tasks))
        for j in range(len(tasks))
    ]


def shared_parameters(network: nn.Module, pattern: str = ALL) -> list[nn.Parameter]:
    """The trained parameters that several tasks share, whose name or module is like the pattern (as of file names).

    Raises
    ------
    MedleyError: there is none.
    """
    several = cast(Callable[[], Iterable[nn.Parameter]], getattr(network, "shared_parameters", network.parameters))
    known = {id(one) for one in several()}
    named = {name: one for name, one in network.named_parameters() if id(one) in known and one.requires_grad}
    if not named:
        raise MedleyError(f"the tasks share no parameters in {type(network).__name__}, so they cannot interfere")
    chosen = [one for name, one in named.items() if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")]
    if not chosen:
        modules = ", ".join(dict.fromkeys(name.split(".")[0] for name in named))
        raise MedleyError(f"no shared parameter is called like {pattern!r}; the names begin with {modules}")
    return chosen


def _gradients(losses: Losses, parameters: Sequence[nn.Parameter], tasks: Sequence[str]) -> list[_Gradient]:
    """For each task {id of a parameter: gradient}, without those its loss does not depend on; None without a loss."""
    found: list[_Gradient] = []
    for task in tasks:
        if task not in losses:
            found.append(None)
            continue
        each = torch.autograd.grad(losses[task], parameters, retain_graph=True, allow_unused=True)
        found.append({id(one): g for one, g in zip(parameters, each, strict=True) if g is not None})
    return found


def _joined(gradient: _Gradient, parameters: Sequence[nn.Parameter]) -> Tensor | None:
    """The gradient of some parameters as a vector, 0 where there is none."""
    if gradient is None:
        return None
    return torch.cat([gradient.get(id(one), torch.zeros_like(one)).flatten().double() for one in parameters])


def _products(rows: Sequence[Tensor | None], columns: Sequence[Tensor | None]) -> np.ndarray:
    """The products of all pairs of vectors (rows, columns); NaN where one is missing."""
    return np.array(
        [[float("nan") if a is None or b is None else float(a @ b) for b in columns] for a in rows], np.float64
    )


def _effect(
    name: str,
    step: int,
    layers: str,
    parameters: Sequence[nn.Parameter],
    tasks: Sequence[str],
    at: tuple[int, int],
    drops: np.ndarray,
    cosines: np.ndarray,
) -> Effect:
    """The effect of task at[1] on task at[0], from drops and cosines (batches, tasks, tasks)."""
    i, j = at
    drop, own = drops[:, i, j], drops[:, i, i]
    both = np.isfinite(drop) & np.isfinite(own)
    cosine = cosines[np.isfinite(cosines[:, i, j]), i, j]
    return Effect(
        name, step, layers, sum(one.numel() for one in parameters), tasks[i], tasks[j],
        *_interval(drop[both], own[both]), *_interval(cosine, np.ones_like(cosine)),
        drop=float(drop[both].mean()) if both.any() else float("nan"), batches=int(both.sum()),
    )  # fmt: skip


def _interval(above: np.ndarray, below: np.ndarray) -> tuple[float, float, float]:
    """mean(above) / mean(below) with its 95 % interval over resampled values; NaN unless mean(below) is positive."""
    unknown = float("nan")
    if not len(above) or not below.mean() > 0:
        return unknown, unknown, unknown
    value = float(above.mean() / below.mean())
    if len(above) < FEWEST:
        return value, unknown, unknown
    draws = np.random.default_rng(0).integers(len(above), size=(RESAMPLES, len(above)))
    tops, bottoms = above[draws].mean(axis=1), below[draws].mean(axis=1)
    if (bottoms <= 0).mean() > 0.025:
        return value, unknown, unknown
    low, high = np.percentile((tops / bottoms)[bottoms > 0], (2.5, 97.5))
    return value, float(low), float(high)
