"""Depthwise convolutions, where every channel has a 3x3 kernel of its own: one for all samples, or one for each.

Maps are (H, W, B, C), see `medley.models.blocks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from types import EllipsisType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STRIP = 2**23  # bytes of one map within a strip

# Rows of a strip; of all rows `...`, since the gradient of a slice is a copy, even of one that takes everything.
Kept = slice | EllipsisType


class Kernel(nn.Module):
    """The 3x3 kernels of a depthwise convolution, one a channel, the same for every sample: (channels, 1, 3, 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.Conv2d(channels, channels, 3, groups=channels).weight.detach())

    def forward(self) -> Tensor:
        """The kernels, (channels, 1, 3, 3)."""
        return self.weight


class AdaptiveKernel(nn.Module):
    """Kernels of a depthwise convolution that differ from sample to sample (TAT, arXiv 2512.14550).

    The kernels of sample b are `weight + strength · generated_b`; `strength` (lambda in the paper), one number a
    channel, starts at 0. `std` is the spread that `weight` starts with.
    """

    def __init__(self, channels: int, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(std * torch.randn(channels, 1, 3, 3))
        self.strength = nn.Parameter(torch.zeros(channels, 1, 1, 1))

    def forward(self, generated: Tensor) -> Tensor:
        """Generated kernels -> the kernels, both (B, channels, 1, 3, 3)."""
        return self.weight + self.strength * generated


def mix_depthwise(x: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """A 1x1 convolution, then a 3x3 convolution of every channel with its own kernel, zero padding.

    x (H, W, B, C), weight (D, C), kernel (D, 1, 3, 3) or, one a sample, (B, D, 1, 3, 3) -> (H, W, B, D)
    """
    x = F.linear(x, weight)  # (H, W, B, D)
    if x.dtype == torch.float64:  # for tests of exactness only: there is no fast depthwise convolution of doubles
        return _shifted_products(x, kernel)
    batch, channels = x.shape[2:]
    kernels = kernel.expand(batch, channels, 1, 3, 3).flatten(0, 1)  # (B·D, 1, 3, 3)
    beside = x.flatten(2).unsqueeze(0).permute(0, 3, 1, 2)  # (1, B·D, H, W), channels-last in memory
    beside = F.conv2d(beside, kernels, padding=1, groups=batch * channels)
    return beside.permute(0, 2, 3, 1).squeeze(0).unflatten(2, (batch, channels))


def rows_at_once(x: Tensor, channels: int) -> int:
    """How many rows of a map to take through depthwise convolutions of so many channels at once.

    All, where a gradient will ask for what lies between. Else so many that what lies between is small and needed again
    before it is forgotten: memory then is that of the maps between the parts of a network, not of those within.
    """
    height, width, batch, _ = x.shape
    if torch.is_grad_enabled():
        return height
    return max(8, _STRIP // (width * batch * channels * x.element_size()))


def pieces(length: int, most: int) -> list[int]:
    """As few pieces of `length` as there can be of at most `most`, about equally long."""
    count = -(-length // most)
    return [length * (k + 1) // count - length * k // count for k in range(count)]


def strips(x: Tensor, rows: Sequence[int]) -> Iterator[tuple[Tensor, Kept]]:
    """Strips of so many rows each of a map (H, W, B, C), with the next row on either side where there is one.

    A 3x3 convolution with zero padding makes of a strip what it makes of the map, in the rows that are kept.
    """
    if len(rows) == 1:
        yield x, ...
        return
    start = 0
    for count in rows:
        first, last = max(0, start - 1), min(len(x), start + count + 1)
        yield x[first:last], slice(start - first, start - first + count)
        start += count


def joined(parts: Iterable[Tensor], rows: int) -> Tensor:
    """Strips one below the other, of so many rows in all: (rows, ...).

    Where no gradient will ask for them each is put in its place as it is made, so that they are never all there.
    """
    parts = iter(parts)
    first = next(parts)
    if len(first) == rows:
        return first
    if torch.is_grad_enabled():
        return torch.cat([first, *parts])
    whole = first.new_empty(rows, *first.shape[1:])
    for place, part in _placed(whole, chain([first], parts)):
        place.copy_(part)
    return whole


def added(x: Tensor, parts: Iterable[Tensor]) -> Tensor:
    """x + the strips one below the other, in the memory of `x` where no gradient will ask for it.

    A sum of its own would be a large buffer, and with those the time goes into what the kernel does about their pages.
    """
    if torch.is_grad_enabled():
        return x + joined(parts, len(x))
    for place, part in _placed(x, parts):
        place.add_(part)
    return x


def _placed(whole: Tensor, parts: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """(the rows of `whole` where a strip belongs, the strip), from above."""
    start = 0
    for part in parts:
        yield whole[start : start + len(part)], part
        start += len(part)


def _shifted_products(x: Tensor, kernel: Tensor) -> Tensor:
    """The depthwise convolution by its definition; shapes as in `mix_depthwise`."""
    height, width = x.shape[:2]
    padded = F.pad(x, (0, 0, 0, 0, 1, 1, 1, 1))
    total = torch.zeros_like(x)
    for i in range(3):
        for j in range(3):
            total = torch.addcmul(total, padded[i : i + height, j : j + width], kernel[..., 0, i, j])
    return total
