"""The losses of restored images, by name, and that of every other kind of target, whose missing labels are excluded."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from medley.runtime.registry import Registry
from medley.targets import Target


def target_loss(
    target: Target,
    output: Tensor,
    truth: Tensor,
    counts: Tensor,
    *,
    class_weights: Tensor | None = None,
    balanced: bool = False,
) -> Tensor:
    """The loss of one target over a batch, a scalar.

    Parameters
    ----------
    output: of the network: (B, K, *spatial) logits, (B, 1, *spatial) value / scale, or (B, K) logits.
    truth: (B, K, *spatial) in {0, 1}, (B, 1, *spatial) value / scale, or (B,) index of the class.
    counts: mask of the values that are used, not all False: (B, K) structures that were drawn, (B, 1, *spatial)
        voxels of the region, or (B,) records with a label.
    class_weights: (K,). balanced: see `structures_loss`.
    """
    output = output.float()
    if target.kind == "structures":
        return structures_loss(output, truth.float(), counts, balanced=balanced)
    if target.kind == "map":
        return map_loss(output, truth, counts)
    weights = None if class_weights is None else class_weights.to(output.device)
    return F.cross_entropy(output[counts], truth[counts], weights)


def structures_loss(logits: Tensor, truth: Tensor, drawn: Tensor, *, balanced: bool = False) -> Tensor:
    """Binary cross-entropy plus 1 - soft Dice, mean over the structures that were drawn (Milletari et al., 2016).

    Every structure has its own binary output, since organs may overlap, and a structure that was not drawn must not
    count as background of the others. Both parts are computed over the whole batch, which reduces the noise for small
    structures.

    balanced: the voxels inside and those outside have the same total weight in the cross-entropy, which is needed to
    learn a structure of a thousandth of the grid; otherwise every voxel has the same weight.
    """
    some = drawn.to(logits.dtype).view(*drawn.shape, *[1] * (logits.ndim - 2))  # (B, K, 1, ...)
    but_channels = (0, *range(2, logits.ndim))
    inside, outside = ((mask * some).sum(but_channels).clamp(min=1) for mask in (truth, 1 - truth))  # (K,) voxels
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * some
    if balanced:
        of_inside, of_outside = ((entropy * mask).sum(but_channels) for mask in (truth, 1 - truth))
        entropy = (of_inside / inside + of_outside / outside) / 2
    else:
        entropy = entropy.sum(but_channels) / (some.sum(but_channels) * truth[0, 0].numel()).clamp(min=1)
    probability = logits.sigmoid() * some
    dice = (2 * (probability * truth).sum(but_channels) + 1) / ((probability + truth * some).sum(but_channels) + 1)
    present = drawn.any(0)  # (K,), whether any record of the batch has it
    return (entropy + 1 - dice)[present].mean()


def map_loss(output: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """Mean absolute error over all voxels of the region in the batch."""
    region = region.to(output.dtype)
    return ((output - truth).abs() * region).sum() / region.sum()


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
