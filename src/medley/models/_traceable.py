"""The restorers in a form that can be traced once for all sizes, for export: same weights, same output.

It is the textbook form with four parts replaced: the padding of the image, which depends on its size; the Python loops
over the windows of local attention and over blocks of pixels in the memory of UniH3; and depthwise convolutions with
different kernels for every sample, which have more groups than an ONNX file can state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.models._onnx_depthwise import DepthwisePerSample
from medley.models.attention import Attention
from medley.models.blocks import STRIDE, RestorationNetwork
from medley.models.fast import textbook
from medley.models.layers import AdaptiveDepthwiseConv
from medley.models.memory import HomogeneityMemory


def traceable(network: RestorationNetwork) -> nn.Module:
    """A restorer (B, C, H, W) -> (B, 1, H, W) with the output of `network`, which shares its parameters.

    It is in evaluation mode and can be traced with any B, and any H and W of at least `blocks.SMALLEST_SIDE`.
    """
    trunk = textbook(network)
    for module in trunk.modules():
        module.__class__ = _FORMS.get(type(module), type(module))
    return TraceableNetwork(trunk).eval()


class TraceableNetwork(nn.Module):
    """The forward pass of a restorer: pads to multiples of 8 by reflection, adds the residual, crops."""

    def __init__(self, network: RestorationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, *conditions: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 1, H, W)."""
        height, width = image.shape[2:]
        rows, columns = (_reflected(side, image.device) for side in (height, width))
        padded = image.index_select(2, rows).index_select(3, columns)  # (B, C, H', W')
        restored = self.network.centre(padded) + self.network.residual(padded, *conditions)
        inside = (torch.arange(side, device=image.device) for side in (height, width))
        return restored.index_select(2, next(inside)).index_select(3, next(inside))


def new_size(number: int, least: int) -> int:
    """The same number, at least `least`, as a new symbolic size of the trace.

    `torch.export` reasons about every size. About a new one it only knows the bound; formulas of other sizes take it
    four times as long, and it would exclude the sizes for which, say, there is a single window.
    """
    if isinstance(number, Tensor):  # TorchScript's tracer represents sizes so
        return number
    size = torch.full((), number).item()
    torch._check(size >= least)
    return cast(int, size)


def at_most(number: int, bound: int) -> int:
    """The smaller of a size and a known number."""
    return number.clamp(max=bound) if isinstance(number, Tensor) else torch.sym_min(number, bound)


def _reflected(side: int, device: torch.device) -> Tensor:
    """Indices that pad an axis by reflection to the next multiple of 8, as F.pad does."""
    index = torch.arange(STRIDE * new_size((side + STRIDE - 1) // STRIDE, least=2), device=device)
    return torch.where(index < side, index, 2 * (side - 1) - index)


class TraceableDepthwiseConv(AdaptiveDepthwiseConv):
    """`AdaptiveDepthwiseConv` as nine shifted products, or, for ONNX, as a loop over the samples."""

    def forward(self, x: Tensor, generated: Tensor) -> Tensor:
        """x (B, C, H, W), generated (B, C, 1, 3, 3) -> (B, C, H, W)."""
        kernels = self.kernels(generated)
        if torch.onnx.is_in_onnx_export():
            return DepthwisePerSample.apply(x, kernels, len(self.weight))
        height, width = x.shape[2:]
        padded = F.pad(x, (1, 1, 1, 1))
        shifts = [
            padded[:, :, i : i + height, j : j + width] * kernels[..., i, j, None] for i in range(3) for j in range(3)
        ]
        return sum(shifts[1:], shifts[0])


class TraceableAttention(Attention):
    """`Attention` with all windows of local attention as one batch."""

    def forward(self, x: Tensor, *generated: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W)."""
        if self.window is None:
            return super().forward(x, *generated)
        batch, _, height, width = x.shape
        x = self.kernel(self.qkv(x), *generated)  # (B, 3C, H, W)
        rows, columns = Windows(height, self.window, x.device), Windows(width, self.window, x.device)
        x = columns.cut(rows.cut(x, 2), 4)  # (B, 3C, windows, h, windows, w)
        x = x.permute(2, 4, 0, 1, 3, 5).flatten(4).flatten(0, 2)  # (windows · windows · B, 3C, h · w)
        x = self.attend(x).unflatten(2, (rows.side, columns.side)).unflatten(0, (rows.count, columns.count, batch))
        x = x.permute(2, 3, 0, 4, 1, 5)  # (B, C, windows, h, windows, w)
        return self.project(columns.join(rows.join(x, 2), 3))


class TraceableMemory(HomogeneityMemory):
    """`HomogeneityMemory` with all pixels in one block."""

    def _scores(self, query: Tensor, keys: Tensor) -> Iterator[tuple[Tensor, slice]]:
        flat = F.normalize(query.flatten(2).unflatten(1, (self.heads, -1)), dim=2)  # (B, heads, C / heads, pixels)
        yield self.temperature * (flat.transpose(2, 3) @ keys.transpose(1, 2)), slice(None)


class Windows:
    """The windows of `attention.windows` along one axis, for symbolic sizes.

    Attributes
    ----------
    count, side: the number of windows, and the number of pixels of each.
    """

    def __init__(self, length: int, window: int, device: torch.device) -> None:
        self.side = new_size(at_most(length, window), least=1)
        self.count = new_size((length + window - 1) // window, least=1)
        pixel, number = torch.arange(length, device=device), torch.arange(self.count, device=device)
        gaps = number[-1].clamp_min(1)
        step = (length - self.side + gaps - 1) // gaps
        starts = (number * step).clamp_max(length - self.side)
        self._taken = (starts[:, None] + torch.arange(self.side, device=device)).flatten()  # (count · side,)
        # At most two windows overlap at a pixel: the last that begins before it, and perhaps the previous one.
        last = (starts <= pixel[:, None]).sum(1) - 1
        before = (last - 1).clamp_min(0)
        before = torch.where(starts[before] + self.side > pixel, before, last)
        self._last, self._before = (one * self.side + pixel - starts[one] for one in (last, before))

    def cut(self, x: Tensor, axis: int) -> Tensor:
        """(..., length, ...) -> (..., count, side, ...)."""
        return x.index_select(axis, self._taken).unflatten(axis, (self.count, self.side))

    def join(self, x: Tensor, axis: int) -> Tensor:
        """(..., count, side, ...) -> (..., length, ...), the mean where windows overlap."""
        x = x.flatten(axis, axis + 1)
        return (x.index_select(axis, self._last) + x.index_select(axis, self._before)) / 2


_FORMS: dict[type[nn.Module], type[nn.Module]] = {
    AdaptiveDepthwiseConv: TraceableDepthwiseConv,
    Attention: TraceableAttention,
    HomogeneityMemory: TraceableMemory,
}
