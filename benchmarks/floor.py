"""A lower bound of the time on a machine: operations / rate of its matrix products, bytes / rate of its copies.

Operations are those of matrix products and convolutions. Bytes are those that these operations read and write, each
number once, as if norms, activations, sums and gates were fused into them. The larger of the two times is the floor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from medley.models.cost import flops
from medley.models.zoo import create_model

_aten = torch.ops.aten
_PRODUCTS = (_aten.mm, _aten.addmm, _aten.bmm, _aten.baddbmm, _aten.convolution)


@dataclass(frozen=True)
class Rates:
    """The speed of the machine in a precision: operations per second in large matrix products, bytes per second in
    copies (read and written), bytes per number."""

    operations: float
    bytes: float
    size: int


@dataclass(frozen=True)
class Work:
    """The work for one slice: operations, and numbers that are read or written."""

    operations: int
    numbers: int

    def floor(self, rates: Rates) -> float:
        """Seconds."""
        return max(self.operations / rates.operations, self.numbers * rates.size / rates.bytes)


def measure_rates(precision: str, side: int = 4096, megabytes: int = 512) -> Rates:
    """The best of five."""
    dtype = getattr(torch, precision)
    a, b = torch.rand(2, side, side).to(dtype)
    product = torch.empty_like(a)
    source = torch.zeros(megabytes << 20, dtype=torch.uint8)
    target = torch.zeros_like(source)
    multiplied = _least(lambda: torch.mm(a, b, out=product))
    copied = _least(lambda: target.copy_(source))
    return Rates(2 * side**3 / multiplied, 2 * len(source) / copied, dtype.itemsize)


def measure_work(network: str, side: int) -> Work:
    """Of a network by its name."""
    return work_of(create_model(network), side)


def work_of(model: nn.Module, side: int, channels: int = 1) -> Work:
    """Counted during a forward pass of one slice."""
    with FlopCounterMode(display=False, custom_mapping=dict.fromkeys(_PRODUCTS, _numbers)) as numbers:
        operations = flops(model, (channels, side, side))
    return Work(operations, numbers.get_total_flops())


def _numbers(*arguments: Any, out_shape: torch.Size, **_: Any) -> int:
    """How many numbers a product or a convolution reads and writes, as a formula for `FlopCounterMode`."""
    return sum(one.numel() for one in (*arguments, out_shape) if isinstance(one, torch.Size))


def _least(do: Callable[[], Any], times: int = 5) -> float:
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        do()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)
