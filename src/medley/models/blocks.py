"""What Restormer, TAT and AMIR are built of: the block of Restormer (arXiv 2111.09881) and its U-shaped trunk.

Feature maps are (H, W, B, C) here: the channels last, and the samples of a batch beside them. That is fast on a CPU: a
1x1 convolution is one matrix product (`nn.Linear`), layer norm runs along the memory, and a depthwise convolution with
kernels of its own for every sample is one depthwise convolution of B·C channels, channels-last. What belongs to a
sample, (B, C), is broadcast over its pixels as it is. Images enter and leave the networks as (B, 1, H, W).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medley.models.attention import Attention
from medley.models.depthwise import AdaptiveKernel, Kernel, added, joined, mix_depthwise, pieces, rows_at_once, strips
from medley.models.gradients import GatedProjection

LEVELS = 4
STRIDE = 8  # the trunk halves an image three times
SMALLEST_SIDE = 16
_ALIGNED = 16  # channels; float32 numbers in a register of AVX-512

# Generated depthwise kernels of one sample each, for (attention, feed-forward): (B, channels, 1, 3, 3).
Kernels = tuple[Tensor, Tensor]


class Conv(nn.Conv2d):
    """A dense convolution, (H, W, B, C_in) -> (H', W', B, C_out); 3x3 with zero padding and no bias unless said."""

    def __init__(self, channels_in: int, channels_out: int, **options: Any) -> None:
        super().__init__(channels_in, channels_out, 3, **({"padding": 1, "bias": False} | options))

    def forward(self, x: Tensor) -> Tensor:
        """(H, W, B, C_in) -> (H', W', B, C_out)."""
        x = x.permute(2, 0, 1, 3).contiguous()  # samples first: (B, H, W, C_in)
        x = super().forward(x.permute(0, 3, 1, 2))  # (B, C_out, H', W'), channels-last in memory
        return x.permute(2, 3, 0, 1).contiguous()


class FeedForward(nn.Module):
    """1x1 convolution to twice the hidden width, depthwise, gelu(first half) · second half, 1x1 (GDFN, sec. 3.2)."""

    def __init__(self, channels: int, hidden: int, kernel: nn.Module) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, 2 * hidden, bias=False)
        self.kernel = kernel
        self.project = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: Tensor, *generated: Tensor) -> Tensor:
        """x (H, W, B, C) -> (H, W, B, C); `generated` kernels go to an `AdaptiveKernel`."""
        return joined(self.strips(x, *generated), len(x))

    def strips(self, x: Tensor, *generated: Tensor) -> Iterator[Tensor]:
        """The answer strip by strip, from above."""
        # Idle channels, all zero, up to a multiple of what a processor takes at once: 256 run twice as fast as 255.
        idle = -self.project.in_features % _ALIGNED
        weights = (F.pad(weight, (0, 0, 0, idle)) for weight in self.expand.weight.chunk(2))
        kernels = (F.pad(kernel, (0, 0, 0, 0, 0, 0, 0, idle)) for kernel in self.kernel(*generated).chunk(2, dim=-4))
        parts, project = list(zip(weights, kernels, strict=True)), F.pad(self.project.weight, (0, idle))
        for strip, kept in strips(x, pieces(len(x), rows_at_once(x, project.shape[1]))):
            gate, value = (mix_depthwise(strip, *part)[kept] for part in parts)
            yield gated_projection(gate, value, project)


def gated_projection(gate: Tensor, value: Tensor, weight: Tensor) -> Tensor:
    """(gelu(gate) · value) @ weight.T, in the memory of `gate` where no gradient will ask for it."""
    if torch.is_grad_enabled():
        return cast(Tensor, GatedProjection.apply(gate, value, weight))
    return F.linear(F.gelu(gate, out=gate).mul_(value), weight)  # type: ignore[call-arg]


class Block(nn.Module):
    """`x += attention(norm(x)); x += feed_forward(norm(x))`; with task-adaptive depthwise kernels when `adaptive`."""

    def __init__(self, channels: int, heads: int, expansion: float, adaptive: bool, window: int | None) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        kernels: tuple[nn.Module, nn.Module]
        if adaptive:
            kernels = AdaptiveKernel(3 * channels, std=1), AdaptiveKernel(2 * hidden, std=(2 / 9) ** 0.5)
        else:
            kernels = Kernel(3 * channels), Kernel(2 * hidden)
        self.attention = Attention(channels, heads, kernels[0], window)
        self.feed_forward = FeedForward(channels, hidden, kernels[1])

    def forward(self, x: Tensor, kernels: Kernels | None = None) -> Tensor:
        """(H, W, B, C) -> (H, W, B, C); an adaptive block needs its generated kernels.

        Where no gradient will ask for `x`, its memory holds the answer.
        """
        attention_kernels, feed_forward_kernels = ((kernel,) for kernel in kernels) if kernels else ((), ())
        x = added(x, self.attention.strips(self.norm1(x), *attention_kernels))
        return added(x, self.feed_forward.strips(self.norm2(x), *feed_forward_kernels))


class Stage(nn.ModuleList):
    """Blocks one after the other; all take the same generated kernels, if any.

    Attributes
    ----------
    recompute: keep only what goes from block to block for the backward pass, which computes the rest a second time.
    """

    recompute = False

    def forward(self, x: Tensor, kernels: Kernels | None = None) -> Tensor:
        """(H, W, B, C) -> (H, W, B, C), in the memory of `x` where no gradient will ask for it."""
        for block in self:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, kernels, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x, kernels)
        return x


class Down(nn.Module):
    """3x3 convolution to half the channels, then pixel-unshuffle: (H, W, B, C) -> (H/2, W/2, B, 2C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(H, W, B, C) -> (H/2, W/2, B, 2C)."""
        x = self.conv(x).unflatten(1, (-1, 2)).unflatten(0, (-1, 2))  # (H/2, 2, W/2, 2, B, C/2)
        return x.permute(0, 2, 4, 5, 1, 3).flatten(3)


class Up(nn.Module):
    """3x3 convolution to twice the channels, then pixel-shuffle: (H, W, B, C) -> (2H, 2W, B, C/2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels, 2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(H, W, B, C) -> (2H, 2W, B, C/2)."""
        return pixel_shuffle(self.conv(x), 2)


def pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    """`torch.pixel_shuffle` of maps (H, W, B, C): (H, W, B, C·f²) -> (f·H, f·W, B, C)."""
    x = x.unflatten(3, (-1, factor, factor))  # (H, W, B, C, f, f)
    return x.permute(0, 4, 1, 5, 2, 3).flatten(2, 3).flatten(0, 1)


class Trunk(nn.Module):
    """The U shape that the three restorers share; what flows through it is written in `residual` of each.

    Parameters
    ----------
    dim: width of level 1; level l has width dim · 2^(l-1) at 1 / 2^(l-1) of the size. Even.
    blocks: how many blocks on levels 1 to 4; the decoder has as many on a level as the encoder.
    refinement: how many blocks follow the decoder, at its width of 2 · dim.
    heads: of attention, on levels 1 to 4.
    expansion: hidden width of the feed-forward nets over their width.
    adaptive: whether latent, decoder and refinement take generated depthwise kernels.
    window: None, or the side above which attention is local, times the number of heads.

    Attributes
    ----------
    config: the arguments that make the same network again; a network adds its own.
    output: from features to the image's residual; its last convolution gives it.
    """

    config: dict[str, Any]
    output: nn.Module

    def __init__(
        self,
        dim: int,
        blocks: Sequence[int],
        refinement: int,
        heads: Sequence[int],
        expansion: float,
        adaptive: bool = False,
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.config = {
            "dim": dim,
            "blocks": list(blocks),
            "refinement": refinement,
            "heads": list(heads),
            "expansion": expansion,
        }
        if len(blocks) != LEVELS or len(heads) != LEVELS:
            raise ValueError(f"there are {LEVELS} levels: blocks is {tuple(blocks)} and heads is {tuple(heads)}")
        if dim % 2 or any(dim * 2**level % n for level, n in enumerate(heads)):
            raise ValueError(f"dim must be even and dim · 2^level divisible by its heads {tuple(heads)}, got {dim}")
        if window is not None and window < max(heads):
            raise ValueError(f"window must be at least the largest number of heads, {max(heads)}, got {window}")

        def stage(count: int, channels: int, level: int, adaptive: bool = adaptive) -> Stage:
            n = heads[level - 1]
            side = window // n if window else None
            return Stage(Block(channels, n, expansion, adaptive, side) for _ in range(count))

        self.embed = Conv(1, dim)
        self.encoder1 = stage(blocks[0], dim, 1, adaptive=False)
        self.down1 = Down(dim)
        self.encoder2 = stage(blocks[1], 2 * dim, 2, adaptive=False)
        self.down2 = Down(2 * dim)
        self.encoder3 = stage(blocks[2], 4 * dim, 3, adaptive=False)
        self.down3 = Down(4 * dim)
        self.latent = stage(blocks[3], 8 * dim, 4)
        self.up3 = Up(8 * dim)
        self.reduce3 = nn.Linear(8 * dim, 4 * dim, bias=False)
        self.decoder3 = stage(blocks[2], 4 * dim, 3)
        self.up2 = Up(4 * dim)
        self.reduce2 = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.decoder2 = stage(blocks[1], 2 * dim, 2)
        self.up1 = Up(2 * dim)
        self.decoder1 = stage(blocks[0], 2 * dim, 1)  # not reduced: 2 · dim
        self.refinement = stage(refinement, 2 * dim, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, 1, H, W), values of about [0, 1]; any H and W from 16 up, any B.

        Sides that are not multiples of 8 are padded by reflection, below and to the right, and cropped after.
        """
        if image.ndim != 4 or image.shape[1] != 1 or min(image.shape[2:]) < SMALLEST_SIDE:
            raise ValueError(
                f"expected images (B, 1, H, W) of at least {SMALLEST_SIDE} pixels a side, got {tuple(image.shape)}"
            )
        height, width = image.shape[2:]
        padded = F.pad(image, (0, -width % STRIDE, 0, -height % STRIDE), mode="reflect")
        padded = padded.permute(2, 3, 0, 1)  # (H, W, B, 1)
        return (padded + self.residual(padded)).permute(2, 3, 0, 1)[:, :, :height, :width]

    def recompute(self) -> None:
        """From now on compute what lies within blocks a second time in the backward pass, rather than keep it."""
        for module in self.modules():
            if isinstance(module, Stage):
                module.recompute = True

    def residual(self, image: Tensor) -> Tensor:
        """What is added to the image: (H, W, B, 1) -> (H, W, B, 1), sides multiples of 8."""
        raise NotImplementedError
