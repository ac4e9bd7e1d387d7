"""The transformer block of Restormer (arXiv 2111.09881) and the U-shaped trunk that Restormer, TAT and AMIR share.

Feature maps are (B, C, H, W). This is the textbook form; `medley.models.fast` swaps in equal ones that are faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medley.models.attention import Attention
from medley.models.layers import AdaptiveDepthwiseConv, ChannelNorm, Conv, DepthwiseConv, Down, PointwiseConv, Skip, Up

LEVELS = 4
STRIDE = 8  # the trunk halves an image three times
SMALLEST_SIDE = 16  # pixels

# Generated depthwise kernels of every sample, for (attention, feed-forward): (B, channels, 1, 3, 3) each.
Kernels = tuple[Tensor, Tensor]


class FeedForward(nn.Module):
    """Gated-Dconv feed-forward network (GDFN, Restormer sec. 3.2).

    1x1 convolution to twice the hidden width, 3x3 depthwise convolution, gelu(first half) · second half, 1x1
    convolution.
    """

    def __init__(self, channels: int, hidden: int, depthwise: nn.Module) -> None:
        super().__init__()
        self.expand = PointwiseConv(channels, 2 * hidden, bias=False)
        self.kernel = depthwise
        self.project = PointwiseConv(hidden, channels, bias=False)

    def forward(self, x: Tensor, *generated: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W); `generated` kernels for an adaptive convolution."""
        gate, value = self.kernel(self.expand(x), *generated).chunk(2, dim=1)  # (B, hidden, H, W) each
        return self.project(F.gelu(gate) * value)


class Block(nn.Module):
    """`x = x + attention(norm1(x)); x = x + feed_forward(norm2(x))`; `adaptive`: with generated depthwise kernels."""

    def __init__(self, channels: int, heads: int, expansion: float, adaptive: bool, window: int | None) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.norm1 = ChannelNorm(channels)
        self.norm2 = ChannelNorm(channels)
        depthwise: tuple[nn.Module, nn.Module]
        if adaptive:
            depthwise = AdaptiveDepthwiseConv(3 * channels, std=1), AdaptiveDepthwiseConv(2 * hidden, (2 / 9) ** 0.5)
        else:
            depthwise = DepthwiseConv(3 * channels), DepthwiseConv(2 * hidden)
        self.attention = Attention(channels, heads, depthwise[0], window)
        self.feed_forward = FeedForward(channels, hidden, depthwise[1])

    def forward(self, x: Tensor, kernels: Kernels | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); an adaptive block needs generated `kernels`."""
        for_attention, for_feed_forward = ((kernel,) for kernel in kernels) if kernels else ((), ())
        x = x + self.attention(self.norm1(x), *for_attention)
        return x + self.feed_forward(self.norm2(x), *for_feed_forward)


class Stage(nn.ModuleList):
    """Blocks in sequence; all use the same generated kernels, if there are any.

    Attributes
    ----------
    recompute: store only the inputs of the blocks for the backward pass and compute the rest a second time there
        (gradient checkpointing).
    """

    recompute = False

    def forward(self, x: Tensor, kernels: Kernels | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        for block in self:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, kernels, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x, kernels)
        return x


class RestorationNetwork(nn.Module):
    """A network that computes what is added to an image; subclasses define `residual`.

    Attributes
    ----------
    config: the arguments that create the same network again.
    inputs: names of the inputs. The first is the image; others are one vector for each sample.
    output: the last layers, from features to the residual.
    residual: what is added to the image, from the inputs: (B, C, H, W), sides multiples of 8, and the conditions
        -> (B, 1, H, W).
    """

    config: dict[str, Any]
    inputs: ClassVar[tuple[str, ...]] = ("image",)
    output: nn.Module
    residual: Callable[..., Tensor]

    def first_level(self) -> list[nn.Module]:
        """The modules up to the first downsampling; the last one gives the features of level 1."""
        raise NotImplementedError

    def example(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        """Random inputs of a size, values from 0 to 1."""
        return (torch.rand(batch, 1, height, width),)

    def centre(self, image: Tensor) -> Tensor:
        """The slice that is restored, (B, 1, H, W): here the image itself."""
        return image

    def starting_tensors(self, start: nn.Module) -> dict[str, Tensor]:
        """The tensors of another network of this class as those that this one starts its training from."""
        return start.state_dict()

    @staticmethod
    def padded(image: Tensor) -> Tensor:
        """(B, C, H, W), padded by reflection, below and to the right, to multiples of 8."""
        height, width = image.shape[2:]
        return F.pad(image, (0, -width % STRIDE, 0, -height % STRIDE), mode="reflect")

    def recompute(self) -> None:
        """Save memory in training: compute the inside of all blocks a second time in the backward pass."""
        for module in self.modules():
            if hasattr(module, "recompute") and module is not self:
                module.recompute = True  # type: ignore[assignment]


class ResidualNetwork(RestorationNetwork):
    """A restoration network of single slices on four levels.

    Parameters
    ----------
    dim: width of level 1, even; level l has width dim · 2^(l-1) at 1 / 2^(l-1) of the image size.
    blocks: number of blocks on levels 1 to 4; encoder and decoder have the same number.
    refinement: number of blocks after the decoder.
    heads: number of attention heads on levels 1 to 4.
    expansion: ratio of the hidden width of the feed-forward networks to their width.

    Attributes
    ----------
    config: subclasses add their own arguments.
    embed, encoder1: the first layers.

    Raises
    ------
    ValueError: the arguments contradict each other.
    """

    embed: nn.Module
    encoder1: nn.Module

    def __init__(
        self, dim: int, blocks: Sequence[int], refinement: int, heads: Sequence[int], expansion: float
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

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, 1, H, W), values of about [0, 1]; any B, H and W from 16 up.

        Sides that are not multiples of 8 are padded by reflection, below and to the right, and cropped afterwards.

        Raises
        ------
        ValueError: another shape.
        """
        if image.ndim != 4 or image.shape[1] != 1 or min(image.shape[2:]) < SMALLEST_SIDE:
            raise ValueError(
                f"expected images (B, 1, H, W) of at least {SMALLEST_SIDE} pixels a side, got {tuple(image.shape)}"
            )
        padded = self.padded(image)
        return (padded + self.residual(padded))[:, :, : image.shape[2], : image.shape[3]]

    def first_level(self) -> list[nn.Module]:
        """The embedding and the first stage of the encoder."""
        return [self.embed, self.encoder1]


class Trunk(ResidualNetwork):
    """The layers of the U-shaped network that Restormer, TAT and AMIR share; each defines the data flow in `residual`.

    Parameters
    ----------
    dim, blocks, refinement, heads, expansion: as in `ResidualNetwork`. Level 1 of the decoder has width 2 · dim.
    adaptive: whether latent stage, decoder and refinement use generated depthwise kernels.
    window: None, or the side in pixels above which attention is local, times the number of heads.

    Raises
    ------
    ValueError: the arguments contradict each other.
    """

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
        super().__init__(dim, blocks, refinement, heads, expansion)
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
        self.reduce3 = PointwiseConv(8 * dim, 4 * dim, bias=False)
        self.decoder3 = stage(blocks[2], 4 * dim, 3)
        self.up2 = Up(4 * dim)
        self.reduce2 = PointwiseConv(4 * dim, 2 * dim, bias=False)
        self.decoder2 = stage(blocks[1], 2 * dim, 2)
        self.up1 = Up(2 * dim)
        self.decoder1 = stage(blocks[0], 2 * dim, 1)  # not reduced: 2 · dim
        self.refinement = stage(refinement, 2 * dim, 1)
        self.skip = Skip()
