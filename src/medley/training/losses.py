"""The loss of every kind of target. What is missing adds nothing: each loss takes a mask of what counts."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from medley.problems import Target


def target_loss(target: Target, answer: Tensor, truth: Tensor, counts: Tensor, weights: Tensor | None = None) -> Tensor:
    """The loss of one target over a batch, a scalar; `counts` must count something.

    Parameters
    ----------
    answer: what the network gave: (B, K, *spatial) logits, (B, 1, *spatial) value / scale, or (B, K) logits.
    truth: (B, K, *spatial) in {0, 1}, (B, 1, *spatial) value / scale, or (B,) index of the class.
    counts: (B, K) structures that were drawn, (B, 1, *spatial) voxels that are asked, or (B,) cases with a label.
    weights: (K,) of the classes.
    """
    answer = answer.float()
    if target.kind == "structures":
        return structures_loss(answer, truth.float(), counts)
    if target.kind == "map":
        return map_loss(answer, truth, counts)
    return F.cross_entropy(answer[counts], truth[counts], weights)


def structures_loss(logits: Tensor, truth: Tensor, drawn: Tensor) -> Tensor:
    """Binary cross-entropy plus 1 - soft Dice, mean over the structures that were drawn (Milletari et al., 2016).

    Every structure has its own yes or no, since organs may overlap and one that was not drawn must not count as
    background of the others. The Dice is of the whole batch: a structure too small for one case steadies in several.
    """
    space = tuple(range(2, logits.ndim))
    some = drawn.to(logits.dtype)  # (B, K)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(space)  # (B, K)
    probability = logits.sigmoid()
    common, size = ((x.sum(space) * some).sum(0) for x in (probability * truth, probability + truth))  # (K,)
    dice = (2 * common + 1) / (size + 1)
    present = some.amax(0)  # (K,), whether any case of the batch has it
    return (entropy * some).sum() / some.sum() + ((1 - dice) * present).sum() / present.sum()


def map_loss(answer: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """Mean absolute error within the region, all its voxels of the batch alike."""
    region = region.to(answer.dtype)
    return ((answer - truth).abs() * region).sum() / region.sum()
