"""The loss of every kind of target. What is missing adds nothing: each loss takes a mask of what counts."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from medley.problems import Target


def target_loss(
    target: Target,
    answer: Tensor,
    truth: Tensor,
    counts: Tensor,
    *,
    class_weights: Tensor | None = None,
    balanced: bool = False,
) -> Tensor:
    """The loss of one target over a batch, a scalar; `counts` must count something.

    Parameters
    ----------
    answer: what the network gave: (B, K, *spatial) logits, (B, 1, *spatial) value / scale, or (B, K) logits.
    truth: (B, K, *spatial) in {0, 1}, (B, 1, *spatial) value / scale, or (B,) index of the class.
    counts: (B, K) structures that were drawn, (B, 1, *spatial) voxels that are asked, or (B,) cases with a label.
    class_weights: (K,). balanced: see `structures_loss`.
    """
    answer = answer.float()
    if target.kind == "structures":
        return structures_loss(answer, truth.float(), counts, balanced=balanced)
    if target.kind == "map":
        return map_loss(answer, truth, counts)
    weights = None if class_weights is None else class_weights.to(answer.device)
    return F.cross_entropy(answer[counts], truth[counts], weights)


def structures_loss(logits: Tensor, truth: Tensor, drawn: Tensor, *, balanced: bool = False) -> Tensor:
    """Binary cross-entropy plus 1 - soft Dice, mean over the structures that were drawn (Milletari et al., 2016).

    Every structure has its own yes or no, since organs may overlap and one that was not drawn must not count as
    background of the others. Both parts are of the whole batch: a structure too small for one case steadies in several.

    balanced: the voxels inside and those outside share the cross-entropy by halves, which a structure of a thousandth
    of the grid needs to be found at all; otherwise every voxel counts the same.
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
    present = drawn.any(0)  # (K,), whether any case of the batch has it
    return (entropy + 1 - dice)[present].mean()


def map_loss(answer: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """Mean absolute error within the region, all its voxels of the batch alike."""
    region = region.to(answer.dtype)
    return ((answer - truth).abs() * region).sum() / region.sum()
