"""Strips: without gradients, intermediate maps are computed a few rows at a time, to save memory.

Maps are (H, W, B, C), see `medley.models.fast`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from types import EllipsisType

import torch
from torch import Tensor

_STRIP = 2**23  # bytes of one map within a strip

# Rows of a strip; `...` for all rows, since the gradient of a slice is a copy, even if the slice takes everything.
Kept = slice | EllipsisType


def rows_at_once(x: Tensor, channels: int) -> int:
    """The number of rows of a map (H, W, B, C) to process at once, if intermediate maps have so many channels.

    With gradients all rows, since the backward pass needs the intermediate maps. Without, as many rows as keep
    intermediate maps in the cache.
    """
    height, width, batch, _ = x.shape
    if torch.is_grad_enabled():
        return height
    return max(8, _STRIP // (width * batch * channels * x.element_size()))


def pieces(length: int, most: int) -> list[int]:
    """The lengths of the fewest pieces of `length` with at most `most` each, about equally long."""
    count = -(-length // most)
    return [length * (k + 1) // count - length * k // count for k in range(count)]


def strips(x: Tensor, rows: Sequence[int]) -> Iterator[tuple[Tensor, Kept]]:
    """Strips of a map (H, W, B, C) with the given numbers of rows, each with the adjacent rows if there are any.

    Yields (strip, rows to keep): in these rows, a 3x3 convolution of the strip equals that of the whole map.
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
    """Concatenates strips, from top to bottom, to a map of `rows` rows: (rows, ...).

    Without gradients each strip is copied to its place at once, so that only one exists at a time.
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
    """x + the concatenated strips; without gradients in place, in the memory of `x`.

    A new large buffer would be expensive: the kernel clears each of its pages.
    """
    if torch.is_grad_enabled():
        return x + joined(parts, len(x))
    for place, part in _placed(x, parts):
        place.add_(part)
    return x


def _placed(whole: Tensor, parts: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """(the rows of `whole` where a strip belongs, the strip), from top to bottom."""
    start = 0
    for part in parts:
        yield whole[start : start + len(part)], part
        start += len(part)
