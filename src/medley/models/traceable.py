"""The restorers in a form that can be traced once for all sizes, for export: same weights, same answer.

What the networks do by Python loops over windows, by cutting pixels into parts of a size that depends on the image, or
by more groups of a convolution than a file can state, is done here by arithmetic on sizes and indices. `traceable`
puts these pieces into a copy of a network; its definition, `residual`, stays the one that there is. Between the pieces
maps are (H, W, B, C), as in `blocks`; within them (B, C, H, W), the form of a convolution in ONNX.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.models.amir import SpatialRouter
from medley.models.attention import Attention
from medley.models.blocks import STRIDE, Block, Conv, Down, FeedForward, Kernels, Trunk, Up
from medley.models.onnx_depthwise import DepthwisePerSample


def traceable(network: Trunk) -> nn.Module:
    """A restorer (B, 1, H, W) -> (B, 1, H, W) that gives what `network` gives, and shares its parameters.

    It is in evaluation mode and may be traced with any B, and any H and W of at least `blocks.SMALLEST_SIDE`.
    """
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    trunk: Any = copy.deepcopy(network, shared)
    _replace_pieces(trunk)
    if hasattr(trunk, "_read_out"):  # TAT's last layers, which go through large maps by strips

        def read_out(*features: Tensor) -> Tensor:
            return trunk.output(torch.cat(features, dim=3))

        trunk._read_out = read_out
    return TraceableTrunk(trunk).eval()


def _replace_pieces(module: nn.Module) -> None:
    """Bring every piece below a module to its traceable form."""
    for name, child in module.named_children():
        if type(child) in _FORMS:
            setattr(module, name, _FORMS[type(child)](child))
        else:
            _replace_pieces(child)


class TraceableTrunk(nn.Module):
    """`Trunk.forward`: pads to multiples of 8 by reflection, adds the residual, crops."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, 1, H, W)."""
        height, width = image.shape[2:]
        rows, columns = (_reflected(side, image.device) for side in (height, width))
        padded = image.index_select(2, rows).index_select(3, columns).permute(2, 3, 0, 1)  # (H', W', B, 1)
        restored = (padded + self.trunk.residual(padded)).permute(2, 3, 0, 1)
        inside = (torch.arange(side, device=image.device) for side in (height, width))
        return restored.index_select(2, next(inside)).index_select(3, next(inside))


def looked_up(number: int, least: int) -> int:
    """The same number, at least `least`, as a size that has a name of its own in the trace.

    `torch.export` reasons about every size; of a plain one it has to believe nothing but its bound. Formulas of other
    sizes take it four times as long, and it would rule out the sizes where, say, there is a single window.
    """
    if isinstance(number, Tensor):  # what TorchScript's tracer makes of sizes
        return number
    size = torch.full((), number).item()
    torch._check(size >= least)
    return cast(int, size)


def at_most(number: int, bound: int) -> int:
    """The smaller of a size and a number that is known."""
    return number.clamp(max=bound) if isinstance(number, Tensor) else torch.sym_min(number, bound)


def _reflected(side: int, device: torch.device) -> Tensor:
    """Indices that pad an axis by reflection to the next multiple of 8, as F.pad does."""
    index = torch.arange(STRIDE * looked_up((side + STRIDE - 1) // STRIDE, least=2), device=device)
    return torch.where(index < side, index, 2 * (side - 1) - index)


class TraceableConv(nn.Module):
    """`blocks.Conv`."""

    def __init__(self, conv: Conv) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.padding = conv.stride, conv.padding

    def forward(self, x: Tensor) -> Tensor:
        """(H, W, B, C_in) -> (H', W', B, C_out)."""
        x = F.conv2d(x.permute(2, 3, 0, 1), self.weight, self.bias, self.stride, self.padding)
        return x.permute(2, 3, 0, 1)


def mix_depthwise(x: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """A 1x1 convolution, then a 3x3 convolution of every channel with its own kernel, zero padding.

    x (B, C, H, W), weight (D, C), kernel (D, 1, 3, 3) or, one a sample, (B, D, 1, 3, 3) -> (B, D, H, W)
    """
    channels = int(weight.shape[0])
    x = F.conv2d(x, weight[:, :, None, None])
    if kernel.ndim == 4:
        return F.conv2d(x, kernel, padding=1, groups=channels)
    if torch.onnx.is_in_onnx_export():
        return DepthwisePerSample.apply(x, kernel, channels)
    height, width = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1))
    shifts = [padded[:, :, i : i + height, j : j + width] * kernel[..., i, j, None] for i in range(3) for j in range(3)]
    return sum(shifts[1:], shifts[0])


class TraceableLinear(nn.Module):
    """`nn.Linear` as a convolution where its input is a map: (..., C_in) -> (..., C_out)."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(H, W, B, C_in) -> (H, W, B, C_out), or (B, C_in) -> (B, C_out)."""
        if x.ndim == 2:
            return F.linear(x, self.weight, self.bias)
        return F.conv2d(x.permute(2, 3, 0, 1), self.weight[:, :, None, None], self.bias).permute(2, 3, 0, 1)


class TraceableScaling(nn.Module):
    """`blocks.Down` and `blocks.Up`: a convolution, then pixels become channels or channels pixels."""

    def __init__(self, scaling: Down | Up) -> None:
        super().__init__()
        self.weight = scaling.conv.weight
        self._shuffle = F.pixel_unshuffle if isinstance(scaling, Down) else F.pixel_shuffle

    def forward(self, x: Tensor) -> Tensor:
        """(H, W, B, C) -> (H/2, W/2, B, 2C), or (2H, 2W, B, C/2)."""
        x = F.conv2d(x.permute(2, 3, 0, 1), self.weight, padding=1)
        return self._shuffle(x, 2).permute(2, 3, 0, 1)


class TraceableBlock(nn.Module):
    """`blocks.Block`, of whole maps."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.attention = TraceableAttention(block.attention)
        self.feed_forward = TraceableFeedForward(block.feed_forward)

    def forward(self, x: Tensor, kernels: Kernels | None = None) -> Tensor:
        """(H, W, B, C) -> (H, W, B, C)."""
        attention_kernels, feed_forward_kernels = ((kernel,) for kernel in kernels) if kernels else ((), ())
        x = x + self.attention(self.norm1(x), *attention_kernels)
        return x + self.feed_forward(self.norm2(x), *feed_forward_kernels)


class TraceableAttention(nn.Module):
    """`attention.Attention`: local attention with all windows as one batch."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads, self.window = attention.heads, attention.window
        self.channels = attention.project.in_features
        self.temperature, self.kernel = attention.temperature, attention.kernel
        self.qkv, self.project = attention.qkv.weight, attention.project.weight

    def forward(self, x: Tensor, *generated: Tensor) -> Tensor:
        """x (H, W, B, C) -> (H, W, B, C)."""
        height, width, batch = x.shape[:3]
        x = mix_depthwise(x.permute(2, 3, 0, 1), self.qkv, self.kernel(*generated))  # (B, 3C, H, W)
        if self.window is None:
            return self._attend(x.flatten(2)).unflatten(2, (height, width)).permute(2, 3, 0, 1)
        rows, columns = Windows(height, self.window, x.device), Windows(width, self.window, x.device)
        x = columns.cut(rows.cut(x, 2), 4)  # (B, 3C, windows, h, windows, w)
        x = x.permute(2, 4, 0, 1, 3, 5).flatten(4).flatten(0, 2)  # (windows · windows · B, 3C, h · w)
        x = self._attend(x).unflatten(2, (rows.side, columns.side)).unflatten(0, (rows.count, columns.count, batch))
        x = x.permute(2, 3, 0, 4, 1, 5)  # (B, C, windows, h, windows, w)
        return columns.join(rows.join(x, 2), 3).permute(2, 3, 0, 1)

    def _attend(self, x: Tensor) -> Tensor:
        """q, k, v (B, 3C, N) -> (B, C, N): attention over all these pixels, and the output projection."""
        q, k, v = x.split(self.channels, dim=1)  # (B, C, N) each
        q, k = (t.unflatten(1, (self.heads, -1)) for t in (q, k))  # (B, heads, C/heads, N)
        length_q, length_k = ((t * t).sum(3, keepdim=True).clamp_min(1e-24).sqrt() for t in (q, k))
        cosine = q @ k.transpose(2, 3) / (length_q * length_k.transpose(2, 3))
        matrix = (cosine * self.temperature).softmax(dim=3)  # (B, heads, C/heads, C/heads)
        project = self.project.unflatten(1, (self.heads, -1)).transpose(0, 1)  # (heads, C, C/heads)
        folded = (project @ matrix).transpose(1, 2).flatten(2)  # (B, C, C)
        return folded @ v


class Windows:
    """The windows of `attention.windows` along one axis, for sizes that are not yet known.

    Attributes
    ----------
    count, side: how many there are, and how many pixels each has.
    """

    def __init__(self, length: int, window: int, device: torch.device) -> None:
        self.side = looked_up(at_most(length, window), least=1)
        self.count = looked_up((length + window - 1) // window, least=1)
        pixel, number = torch.arange(length, device=device), torch.arange(self.count, device=device)
        gaps = number[-1].clamp_min(1)
        step = (length - self.side + gaps - 1) // gaps
        starts = (number * step).clamp_max(length - self.side)
        self._taken = (starts[:, None] + torch.arange(self.side, device=device)).flatten()  # (count · side,)
        # No more than two windows overlap: the last that begins before a pixel, and perhaps the one before that.
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


class TraceableFeedForward(nn.Module):
    """`blocks.FeedForward`."""

    def __init__(self, feed_forward: FeedForward) -> None:
        super().__init__()
        self.kernel, self.hidden = feed_forward.kernel, feed_forward.project.in_features
        self.expand, self.project = feed_forward.expand.weight, feed_forward.project.weight

    def forward(self, x: Tensor, *generated: Tensor) -> Tensor:
        """x (H, W, B, C) -> (H, W, B, C)."""
        x = mix_depthwise(x.permute(2, 3, 0, 1), self.expand, self.kernel(*generated))
        gate, value = x.split(self.hidden, dim=1)  # (B, hidden, H, W) each
        return F.conv2d(F.gelu(gate) * value, self.project[:, :, None, None]).permute(2, 3, 0, 1)


class TraceableRouter(nn.Module):
    """`amir.SpatialRouter` in evaluation: every pixel through all experts, those not chosen with a gate of 0."""

    def __init__(self, router: SpatialRouter) -> None:
        super().__init__()
        self.active, self.gate, self.instruct = router.active, router.gate, router.instruct
        self.experts = router.experts
        _replace_pieces(self.experts)

    def forward(self, x: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """x (H, W, B, C), told (B, width) -> (H, W, B, C), and 0."""
        for_x, for_told = self.gate.chunk(2)
        logits = F.conv2d(x.permute(2, 3, 0, 1), for_x.T[:, :, None, None]).permute(2, 3, 0, 1)  # (H, W, B, experts)
        logits = logits + self.instruct(told) @ for_told
        chosen = logits.topk(self.active, dim=3).indices
        left_out = (chosen[..., None] != torch.arange(len(self.experts), device=x.device)).all(3)
        log_gates = logits.masked_fill(left_out, float("-inf")).log_softmax(dim=3)
        answers = [expert(x) + log_gates[..., e, None] for e, expert in enumerate(self.experts)]
        return x + torch.stack(answers).logsumexp(dim=0), x.new_zeros(())


_FORMS: dict[type[nn.Module], Any] = {
    Block: TraceableBlock,
    Conv: TraceableConv,
    Down: TraceableScaling,
    nn.Linear: TraceableLinear,
    SpatialRouter: TraceableRouter,
    Up: TraceableScaling,
}
