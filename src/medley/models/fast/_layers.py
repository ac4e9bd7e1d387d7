"""The fast forms of the layers in `medley.models.layers` and `blocks`, and of the experts of AMIR."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.models.amir import SpatialRouter
from medley.models.blocks import Block, FeedForward, Kernels, Stage
from medley.models.fast._attention import FastAttention
from medley.models.fast._depthwise import mix_depthwise, packed, turned
from medley.models.fast._gradients import GatedProjection
from medley.models.fast._strips import added, joined, pieces, rows_at_once, strips
from medley.models.layers import AdaptiveDepthwiseConv, Conv, DepthwiseConv, Down, Fusion, PointwiseConv, Skip, Up

_ALIGNED = 16  # channels; float32 numbers in a register of AVX-512
# Experts get a multiple of this fraction of all pixels: oneDNN generates code for every new number in bfloat16.
_FRACTION = 16


class FastConv(Conv):
    """`Conv` of maps whose channels are last in memory."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H', W')."""
        x = super().forward(x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2))
        return turned(packed(x))


class FastPointwiseConv(PointwiseConv):
    """`PointwiseConv` as one matrix product."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W)."""
        return turned(nn.Linear.forward(self, turned(x)))


class FastDown(Down):
    """`Down` with the channels last in memory."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 2C, H/2, W/2)."""
        maps = turned(self.conv(x)).unflatten(1, (-1, 2)).unflatten(0, (-1, 2))  # (H/2, 2, W/2, 2, B, C/2)
        return turned(maps.permute(0, 2, 4, 5, 1, 3).flatten(3))


class FastUp(Up):
    """`Up` with the channels last in memory."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C/2, 2H, 2W)."""
        maps = turned(self.conv(x)).unflatten(3, (-1, 2, 2))  # (H, W, B, C/2, 2, 2)
        return turned(maps.permute(0, 4, 1, 5, 2, 3).flatten(2, 3).flatten(0, 1))


class FastSkip(Skip):
    """`Skip` with the channels last in memory."""

    def forward(self, *maps: Tensor) -> Tensor:
        """Maps (B, C_i, H, W) -> (B, sum of C_i, H, W)."""
        return turned(torch.cat([turned(one) for one in maps], dim=3))


class FastFusion(Fusion):
    """`Fusion` by strips up to its last layer: the concatenation is the largest map of the network."""

    def forward(self, *maps: Tensor) -> Tensor:
        """Maps (B, C_i, H, W) -> the output of the last layer."""
        layers = list(self)
        features = [turned(one) for one in maps]  # (H, W, B, C_i)
        height = len(features[0])
        rows = pieces(height, rows_at_once(features[0], sum(one.shape[3] for one in features)))

        def mixed() -> Iterator[Tensor]:
            for part in zip(*(strips(one, rows) for one in features), strict=True):
                x = turned(torch.cat([strip for strip, _ in part], dim=3))
                for layer in layers[:-1]:
                    x = layer(x)
                yield turned(x)[part[0][1]]

        return layers[-1](turned(joined(mixed(), height)))


class FastFeedForward(FeedForward):
    """`FeedForward` by strips."""

    def forward(self, x: Tensor, *generated: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W)."""
        maps = packed(x)
        return turned(joined(self.strips(maps, *generated), len(maps)))

    def strips(self, x: Tensor, *generated: Tensor) -> Iterator[Tensor]:
        """The output of x (H, W, B, C), strip by strip from the top."""
        # Extra channels of zeros, up to a multiple of the vector width: 256 channels run twice as fast as 255.
        extra = -self.project.in_features % _ALIGNED
        kernels = cast(DepthwiseConv | AdaptiveDepthwiseConv, self.kernel).kernels(*generated)
        parts = [
            (F.pad(weight, (0, 0, 0, extra)), F.pad(kernel, (0, 0, 0, 0, 0, 0, 0, extra)))
            for weight, kernel in zip(self.expand.weight.chunk(2), kernels.chunk(2, dim=-4), strict=True)
        ]
        project = F.pad(self.project.weight, (0, extra))
        for strip, kept in strips(x, pieces(len(x), rows_at_once(x, project.shape[1]))):
            gate, value = (mix_depthwise(strip, *part)[kept] for part in parts)
            yield gated_projection(gate, value, project)


def gated_projection(gate: Tensor, value: Tensor, weight: Tensor) -> Tensor:
    """(gelu(gate) · value) @ weight.T; without gradients the memory of `gate` is overwritten."""
    if torch.is_grad_enabled():
        return cast(Tensor, GatedProjection.apply(gate, value, weight))
    return F.linear(F.gelu(gate, out=gate).mul_(value), weight)  # type: ignore[call-arg]


class FastBlock(Block):
    """`Block`; without gradients the result overwrites the input."""

    attention: FastAttention
    feed_forward: FastFeedForward

    def forward(self, x: Tensor, kernels: Kernels | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        for_attention, for_feed_forward = ((kernel,) for kernel in kernels) if kernels else ((), ())
        maps = packed(x)
        maps = added(maps, self.attention.strips(nn.LayerNorm.forward(self.norm1, maps), *for_attention))
        maps = added(maps, self.feed_forward.strips(nn.LayerNorm.forward(self.norm2, maps), *for_feed_forward))
        return turned(maps)


class FastStage(Stage):
    """`Stage`; without gradients the result overwrites the input, unless `keep_input` is set."""

    keep_input = False

    def forward(self, x: Tensor, kernels: Kernels | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        if self.keep_input and not torch.is_grad_enabled():
            x = x.clone()
        return super().forward(x, kernels)


class FastSpatialRouter(SpatialRouter):
    """`SpatialRouter`, where a pixel is processed only by the experts chosen for it."""

    def forward(self, x: Tensor, instruction: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, C, H, W), instruction (B, width) -> (B, C, H, W), and the imbalance of the experts."""
        chosen, log_gates, imbalance = self.route(x, instruction)
        chosen, log_gates = chosen.flatten(0, 2), log_gates.flatten(0, 2)  # (pixels, active) each
        maps = turned(x)
        pixels = maps.flatten(0, 2)  # (H·W·B, C)
        # Sorted by expert, so that each expert needs one matrix product.
        order = chosen.flatten().argsort(stable=True)  # (pixels · active,)
        counts = chosen.flatten().bincount(minlength=len(self.experts)).tolist()
        parts = pixels[order // self.active].split(counts)
        step = len(pixels) // _FRACTION
        answers = torch.cat([_padded(*one, step) for one in zip(self.experts, parts, strict=True)])
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        answers = answers[back].unflatten(0, (-1, self.active))  # (pixels, active, C)
        # log Σ g·exp(output) = logsumexp(output + log g), which cannot overflow.
        mixed = torch.logsumexp(answers.to(log_gates.dtype) + log_gates.unsqueeze(2), dim=1)
        return turned(maps + mixed.view_as(maps).to(x.dtype)), imbalance


def _padded(expert: nn.Module, pixels: Tensor, step: int) -> Tensor:
    """The outputs of an expert (N, C) for pixels (N, C), padded to a multiple of `step` pixels meanwhile."""
    first, activation, second = cast(nn.Sequential, expert)
    padded = F.pad(pixels, (0, 0, 0, -len(pixels) % step))
    hidden = activation(nn.Linear.forward(cast(nn.Linear, first), padded))
    return nn.Linear.forward(cast(nn.Linear, second), hidden)[: len(pixels)]
