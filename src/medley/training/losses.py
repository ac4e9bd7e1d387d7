"""The losses of restored images, by name, and that of every other kind of target, whose missing labels are excluded.

A batch can be a part of a step: of the samples in one pass, or in one process. What a loss is divided by (the numbers
of voxels, records and labels) is therefore that of the whole step, and the losses of the parts sum to that of the step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from medley.runtime.registry import Registry
from medley.targets import Target
from medley.training.collective import number, summed


def target_counts(target: Target, truth: Tensor, counts: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """What the loss of a target is divided by: of structures (3, K), otherwise (1,); all 0 without labels; float64.

    Parameters
    ----------
    truth, counts, class_weights: see `target_loss`.
    """
    if target.kind == "structures":
        return structure_counts(truth, counts)
    if target.kind == "map" or class_weights is None:
        return counts.sum(dtype=torch.float64).view(1)
    return class_weights.to(truth.device)[truth[counts]].sum(dtype=torch.float64).view(1)


def structure_counts(truth: Tensor, drawn: Tensor) -> Tensor:
    """The number of records with each structure, and of the voxels inside and outside of it in these: (3, K) float64.

    truth (B, K, *spatial) in {0, 1}, drawn (B, K) bool.
    """
    records = drawn.sum(0, dtype=torch.float64)
    inside = (truth.flatten(2).sum(2, dtype=torch.float64) * drawn).sum(0)
    return torch.stack([records, inside, records * truth[0, 0].numel() - inside])


def target_loss(
    target: Target,
    output: Tensor,
    truth: Tensor,
    counts: Tensor,
    *,
    totals: Tensor | None = None,
    class_weights: Tensor | None = None,
    balanced: bool = False,
) -> Tensor:
    """The loss of one target, a scalar; of a part of a step, its summand of the loss of the step.

    Parameters
    ----------
    output: of the network: (B, K, *spatial) logits, (B, 1, *spatial) value / scale, or (B, K) logits.
    truth: (B, K, *spatial) in {0, 1}, (B, 1, *spatial) value / scale, or (B,) index of the class.
    counts: mask of the values that are used: (B, K) structures that were drawn, (B, 1, *spatial) voxels of the region,
        or (B,) records with a label.
    totals: `target_counts` of the whole step, not all 0. None: of this batch.
    class_weights: (K,). balanced: see `structures_loss`.
    """
    output = output.float()
    if totals is None:
        totals = target_counts(target, truth, counts, class_weights)
    if target.kind == "structures":
        return structures_loss(output, truth.float(), counts, totals, balanced=balanced)
    total = totals.to(output).squeeze()
    if target.kind == "map":
        return map_loss(output, truth, counts, total)
    weights = None if class_weights is None else class_weights.to(output.device)
    return F.cross_entropy(output[counts], truth[counts], weights, reduction="sum") / total


def structures_loss(
    logits: Tensor, truth: Tensor, drawn: Tensor, totals: Tensor | None = None, *, balanced: bool = False
) -> Tensor:
    """Binary cross-entropy plus 1 - soft Dice, mean over the structures that were drawn (Milletari et al., 2016).

    Every structure has its own binary output, since organs may overlap, and a structure that was not drawn must not
    count as background of the others. Both parts are computed over the whole batch, which reduces the noise for small
    structures. Dice, which is no sum over samples, is that of the samples in one pass (of all processes); the passes
    of a step are weighted by their records.

    Parameters
    ----------
    totals: `structure_counts` of the whole step; None: of this batch.
    balanced: the voxels inside and those outside have the same total weight in the cross-entropy, which is needed to
        learn a structure of a thousandth of the grid; otherwise every voxel has the same weight.
    """
    totals = structure_counts(truth, drawn) if totals is None else totals
    records, inside, outside = totals.to(logits)
    some = drawn.to(logits.dtype).view(*drawn.shape, *[1] * (logits.ndim - 2))  # (B, K, 1, ...)
    but_channels = (0, *range(2, logits.ndim))
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * some
    if balanced:
        of_inside, of_outside = ((entropy * mask).sum(but_channels) for mask in (truth, 1 - truth))
        entropy = (of_inside / inside.clamp(min=1) + of_outside / outside.clamp(min=1)) / 2
    else:
        entropy = entropy.sum(but_channels) / (inside + outside).clamp(min=1)
    probability = logits.sigmoid() * some
    sums = [(probability * truth).sum(but_channels), (probability + truth * some).sum(but_channels)]
    overlap, area, here = summed(torch.stack([*sums, drawn.to(logits.dtype).sum(0)]))
    dice = (2 * overlap + 1) / (area + 1)
    present = records > 0  # (K,), whether any record of the step has it
    each = entropy + (1 - dice) * here / records.clamp(min=1) / number()
    return each[present].mean()


def map_loss(output: Tensor, truth: Tensor, region: Tensor, total: Tensor | None = None) -> Tensor:
    """Mean absolute error over all voxels of the region.

    total: number of voxels of the region in the whole step; None: in this batch.
    """
    region = region.to(output.dtype)
    return ((output - truth).abs() * region).sum() / (region.sum() if total is None else total)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of each sample: (B, ...) twice -> (B,)."""
    return (a - b).abs().flatten(1).mean(dim=1)


def scaled_distance(a: Tensor, b: Tensor, scales: Tensor) -> Tensor:
    """The difference of each sample in units of a scale: (B, ...) twice and (B,) -> (B,).

    The mean of (sqrt(1 + (2 d)²) - 1) / 2 (pseudo-Huber), with d the difference divided by the scale: quadratic for
    differences much smaller than half of the scale, so that the mean of skewed noise is preserved, and the absolute
    difference for larger ones, so that samples of strong noise do not dominate.
    """
    difference = (a - b).flatten(1) / scales[:, None]
    return ((1 + (2 * difference).square()).sqrt() - 1).mean(dim=1) / 2


# The losses of restorers: (restored (B, 1, H, W), target, scales) -> (B,), the error of each sample. `scales` (B,) are
# the typical errors of the tasks, if the network states them (`config.tasks` of slab), else None.
LOSSES: Registry[Callable[..., Tensor]] = Registry(
    "loss",
    "a function",
    callable,
    {"l1": lambda restored, target, scales: distance(restored, target), "scaled": scaled_distance},
)
