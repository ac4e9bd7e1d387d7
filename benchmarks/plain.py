"""The plain form of all that medley has made faster: what the fast form is measured against, and what it must equal.

`plain(network)` is the same network with the same weights, computed as the papers write it and as the original programs
run: 1x1 convolutions as convolutions, the kernels of all samples in one convolution of B·C groups, layer norm by moving
the channels to the end and back, q and k normalised pixel by pixel, local attention window by window, experts that add
gate · exp(answer). Each part is the fast one with another `forward`.

The maps are (B, C, H, W) in memory. Medley's networks hand them on as (H, W, B, C); that is a view of them here, so no
part pays for turning them. Out of a norm the channels lie last, as in the original programs, which do not move them.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.models import attention, blocks
from medley.models.amir import SpatialRouter


def plain(network: nn.Module) -> Any:
    """The plain form of a restorer (Restormer, TAT or AMIR).

    Its parameters are those of `network`, not copies: both learn when one does, and gradients of both add up.
    """
    twin = copy.deepcopy(network, {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())})
    for part in twin.modules():
        part.__class__ = next((slow for fast, slow in PLAIN.items() if isinstance(part, fast)), type(part))
    return twin


def turned(x: Tensor) -> Tensor:
    """(H, W, B, C) -> (B, C, H, W), and back; a view."""
    return x.permute(2, 3, 0, 1)


def mix(x: Tensor, linear: nn.Linear) -> Tensor:
    """A 1x1 convolution: (B, C, H, W) -> (B, D, H, W)."""
    return F.conv2d(x, linear.weight[:, :, None, None], linear.bias)


def depthwise(x: Tensor, kernel: Tensor) -> Tensor:
    """Every channel by its own kernel, (C, 1, 3, 3) or, one a sample, (B, C, 1, 3, 3): (B, C, H, W) -> the same."""
    if kernel.ndim == 4:
        return F.conv2d(x, kernel, padding=1, groups=len(kernel))
    beside = x.reshape(1, -1, *x.shape[2:])  # (1, B·C, H, W)
    return F.conv2d(beside, kernel.flatten(0, 1), padding=1, groups=beside.shape[1]).view(x.shape)


class PlainLinear(nn.Linear):
    """A 1x1 convolution of maps; of anything else a matrix product."""

    def forward(self, x: Tensor) -> Tensor:
        return turned(mix(turned(x), self)) if x.ndim == 4 else super().forward(x)


class PlainConv(blocks.Conv):
    def forward(self, x: Tensor) -> Tensor:
        return turned(nn.Conv2d.forward(self, turned(x)))


class PlainDown(blocks.Down):
    def forward(self, x: Tensor) -> Tensor:
        return turned(F.pixel_unshuffle(turned(self.conv(x)), 2))


class PlainUp(blocks.Up):
    def forward(self, x: Tensor) -> Tensor:
        return turned(F.pixel_shuffle(turned(self.conv(x)), 2))


class PlainNorm(nn.LayerNorm):
    """Over the channels of every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        x = turned(x)
        pixels = super().forward(x.flatten(2).transpose(1, 2))  # (B, H·W, C)
        return turned(pixels.transpose(1, 2).view(x.shape))


class PlainAttention(attention.Attention):
    """Q, k and v from one 1x1 convolution; all windows one after the other; then the projection."""

    def forward(self, x: Tensor, *generated: Tensor) -> Tensor:
        q, k, v = depthwise(mix(turned(x), self.qkv), self.kernel(*generated)).chunk(3, dim=1)  # (B, C, H, W) each
        height, width = v.shape[2:]
        if self.window is None or max(height, width) <= self.window:
            return turned(mix(self.within(q, k, v), self.project))
        total, times = torch.zeros_like(v), v.new_zeros(height, width)
        for rows in attention.windows(height, self.window):
            for columns in attention.windows(width, self.window):
                total[:, :, rows, columns] += self.within(*(t[:, :, rows, columns] for t in (q, k, v)))
                times[rows, columns] += 1
        return turned(mix(total / times, self.project))

    def within(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention over all pixels of a window, (B, C, H, W) each -> (B, C, H, W)."""
        shape = v.shape
        q, k, v = (t.flatten(2).unflatten(1, (self.heads, -1)) for t in (q, k, v))  # (B, heads, C/heads, H·W) each
        cosine = F.normalize(q, dim=3) @ F.normalize(k, dim=3).transpose(2, 3)
        return ((cosine * self.temperature).softmax(dim=3) @ v).reshape(shape)


class PlainFeedForward(blocks.FeedForward):
    def forward(self, x: Tensor, *generated: Tensor) -> Tensor:
        gate, value = depthwise(mix(turned(x), self.expand), self.kernel(*generated)).chunk(2, dim=1)
        return turned(mix(F.gelu(gate) * value, self.project))


class PlainBlock(blocks.Block):
    def forward(self, x: Tensor, kernels: blocks.Kernels | None = None) -> Tensor:
        attention_kernels, feed_forward_kernels = ((kernel,) for kernel in kernels) if kernels else ((), ())
        x = x + self.attention(self.norm1(x), *attention_kernels)
        return x + self.feed_forward(self.norm2(x), *feed_forward_kernels)


class PlainRouter(SpatialRouter):
    """The pixels of each expert are picked, and what it answers is added to a sum of exponentials."""

    def forward(self, x: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            told = self.instruct(told.to(self.gate.dtype))
            chosen, log_gates, imbalance = self._route(x.to(told.dtype), told)
        pixels, gates = x.flatten(0, 2), log_gates.exp()  # (H·W·B, C), (H·W·B, active)
        total = gates.new_zeros(pixels.shape)
        for number, expert in enumerate(self.experts):
            pixel, place = (chosen == number).nonzero(as_tuple=True)
            answers = expert(pixels[pixel]).to(total.dtype)
            total = total.index_add(0, pixel, gates[pixel, place, None] * answers.exp())
        return x + total.log().view(x.shape).to(x.dtype), imbalance


PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: PlainLinear,
    nn.LayerNorm: PlainNorm,
    blocks.Conv: PlainConv,
    blocks.Down: PlainDown,
    blocks.Up: PlainUp,
    attention.Attention: PlainAttention,
    blocks.FeedForward: PlainFeedForward,
    blocks.Block: PlainBlock,
    SpatialRouter: PlainRouter,
}
