"""The homogeneity memory of UniH3 (arXiv 2609.11156): learned prototypes and a store of high-quality features.

Every pixel of a feature map of the degraded image attends to prototypes of all tasks, so no task name is needed for
inference. In training, features of the targets are collected in the store, one slot group per task and one for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medley.models.layers import ChannelNorm, DepthwiseConv, PointwiseConv

MOMENTUM = 0.99  # of the store
_AT_ONCE = 2**24  # scores in memory at a time, without gradients


class HomogeneityMemory(nn.Module):
    """The memory of one level.

    Parameters
    ----------
    channels, heads: of the feature maps; each head has channels / heads consecutive channels.
    tasks: number of tasks T; slot group T belongs to all tasks.
    slots: number of prototypes of each group.

    Attributes
    ----------
    prototypes: (T + 1, slots, channels), learned.
    store: (T + 1, slots, channels), high-quality features; no gradient.
    filled: (T + 1,) bool, whether a group of the store was ever written.
    recompute: compute the inside a second time in the backward pass instead of storing it.
    """

    filled: Tensor
    recompute = False

    def __init__(self, channels: int, heads: int, tasks: int, slots: int) -> None:
        super().__init__()
        self.heads = heads
        self.prototypes = nn.Parameter(torch.randn(tasks + 1, slots, channels))
        self.store = nn.Parameter(torch.zeros(tasks + 1, slots, channels), requires_grad=False)
        self.register_buffer("filled", torch.zeros(tasks + 1, dtype=torch.bool))
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.ones(channels))
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.norm_query = ChannelNorm(channels)
        self.norm_key, self.norm_value = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query = nn.Sequential(PointwiseConv(channels, channels, bias=False), DepthwiseConv(channels))
        self.key = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels, bias=False)
        self.output = nn.Linear(channels, channels, bias=False)

    def forward(self, embedding: Tensor) -> Tensor:
        """The features of the memory for every pixel: (B, C, H, W) -> (B, C, H, W)."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self._retrieve, embedding, use_reentrant=False, preserve_rng_state=False)
        return self._retrieve(embedding)

    def _retrieve(self, embedding: Tensor) -> Tensor:
        query = self.query(self.norm_query(embedding))
        keys = self._keys()
        mixed = self.gamma * self.store + (1 - self.gamma) * self.prototypes
        values = self._by_head(self.value(self.norm_value(mixed)).flatten(0, 1))  # (heads, K, C / heads)
        parts = [
            (scores.softmax(dim=3) @ values).transpose(1, 2).flatten(2)  # (B, pixels, C)
            for scores, _ in self._scores(query, keys)
        ]
        found = self.output(torch.cat(parts, dim=1)).transpose(1, 2).unflatten(2, query.shape[2:])
        return found + self.beta[:, None, None] * query

    @torch.no_grad()
    def usage(self, embedding: Tensor) -> Tensor:
        """The attention to every slot, mean over pixels and heads: (B, C, H, W) -> (B, T + 1, slots), sums to 1."""
        query = self.query(self.norm_query(embedding))
        sums = [scores.softmax(dim=3).sum(dim=2).mean(dim=1) for scores, _ in self._scores(query, self._keys())]
        mean = torch.stack(sums).sum(dim=0) / query[0, 0].numel()  # (B, K)
        return mean.unflatten(1, self.store.shape[:2])

    @torch.no_grad()
    def collect(self, embedding: Tensor, of_target: Tensor, groups: Sequence[int]) -> None:
        """Add the features of targets to the store (distillation).

        Parameters
        ----------
        embedding, of_target: features (B, C, H, W) of the degraded images and of their targets.
        groups: the slot group of each sample's task.
        """
        features = self.query(self.norm_query(of_target)).flatten(2).unflatten(1, (self.heads, -1))  # (B, n, d, N)
        query = self.query(self.norm_query(embedding))
        collected = self._collected(query, self._keys(), features)  # (B, T + 1, slots, C)
        sums, counts = torch.zeros_like(self.store), self.store.new_zeros(len(self.store))
        for sample, group in zip(collected, groups, strict=True):
            for g in (group, len(sums) - 1):
                sums[g] += sample[g]
                counts[g] += 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
            torch.distributed.all_reduce(counts)
        for g in torch.nonzero(counts).flatten().tolist():
            mean = sums[g] / counts[g]
            self.store[g] = torch.lerp(mean, self.store[g], MOMENTUM) if self.filled[g] else mean
            self.filled[g] = True

    def _collected(self, query: Tensor, keys: Tensor, features: Tensor) -> Tensor:
        """For every prototype the mean of the features, weighted by a softmax over all pixels; in blocks of pixels."""
        peak = query.new_full((len(query), self.heads, keys.shape[1], 1), -torch.inf)
        total = torch.zeros_like(peak)
        weighted = query.new_zeros(len(query), self.heads, keys.shape[1], keys.shape[2])
        for scores, pixels in self._scores(query, keys):
            scores = scores.transpose(2, 3)  # (B, n, K, pixels)
            higher = torch.maximum(peak, scores.amax(dim=3, keepdim=True))
            shrink, weights = (peak - higher).exp(), (scores - higher).exp()
            total = total * shrink + weights.sum(dim=3, keepdim=True)
            weighted = weighted * shrink + weights @ features[..., pixels].transpose(2, 3)
            peak = higher
        return (weighted / total).transpose(1, 2).flatten(2).unflatten(1, self.store.shape[:2])

    def _scores(self, query: Tensor, keys: Tensor) -> Iterator[tuple[Tensor, slice]]:
        """temperature · cosine of query and keys (B, heads, pixels, K), in blocks of pixels; with gradients, in one."""
        flat = F.normalize(query.flatten(2).unflatten(1, (self.heads, -1)), dim=2)  # (B, n, d, N)
        count = flat.shape[3]
        step = count if torch.is_grad_enabled() else max(1, _AT_ONCE // (flat.shape[0] * keys.shape[0] * keys.shape[1]))
        for first in range(0, count, step):
            pixels = slice(first, min(first + step, count))
            yield self.temperature * (flat[..., pixels].transpose(2, 3) @ keys.transpose(1, 2)), pixels

    def _keys(self) -> Tensor:
        """The normalised keys of all prototypes, (heads, K, C / heads)."""
        return F.normalize(self._by_head(self.key(self.norm_key(self.prototypes)).flatten(0, 1)), dim=2)

    def _by_head(self, x: Tensor) -> Tensor:
        """(K, C) -> (heads, K, C / heads)."""
        return x.unflatten(1, (self.heads, -1)).transpose(0, 1)
