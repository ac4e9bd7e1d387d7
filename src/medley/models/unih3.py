"""UniH3 (arXiv 2609.11156, ECCV 2026), 2-D form: a transformer that is guided by a memory of high-quality features.

Every block gets a guidance map of its own size: in the encoder the features that the memory holds for the pixels of the
image, in the decoder an embedding of the image. Feature maps are (B, C, H, W). Where the paper and the authors' program
differ, this is the program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.models.attention import Attention
from medley.models.blocks import LEVELS, FeedForward, ResidualNetwork, Stage
from medley.models.layers import ChannelNorm, Conv, DepthwiseConv, Down, Fusion, PointwiseConv, Skip, Up
from medley.models.memory import HomogeneityMemory

# The tasks in the order of the authors' slot groups.
TASKS = ("pet-denoise", "ct-denoise", "mr-sr", "oct-denoise", "path-sr", "us-denoise", "xray-denoise")


class UniH3(ResidualNetwork):
    """UniH3; the defaults are those of the authors' program, 28.96 M trained parameters.

    Parameters
    ----------
    dim, blocks, refinement, heads, expansion: as in `Trunk`; decoder level 1 and refinement have width dim.
    tasks: names of the tasks with slot groups of their own in the memory, in order.
    slots: number of prototypes of each group.
    """

    def __init__(
        self,
        *,
        dim: int = 48,
        blocks: Sequence[int] = (2, 3, 3, 4),
        refinement: int = 2,
        heads: Sequence[int] = (1, 2, 4, 8),
        expansion: float = 2.66,
        tasks: Sequence[str] = TASKS,
        slots: int = 128,
    ) -> None:
        super().__init__(dim, blocks, refinement, heads, expansion)
        self.config |= {"tasks": list(tasks), "slots": slots}

        def stage(count: int, level: int) -> GuidedStage:
            width = dim * 2 ** (level - 1)
            return GuidedStage(GuidedBlock(width, heads[level - 1], expansion) for _ in range(count))

        widths = [dim * 2**level for level in range(LEVELS)]
        self.guides = nn.ModuleList(Guide(2**level, width) for level, width in enumerate(widths))
        self.memories = nn.ModuleList(
            HomogeneityMemory(width, n, len(tasks), slots) for width, n in zip(widths, heads, strict=True)
        )
        self.embed = Conv(1, dim)
        self.encoder1 = stage(blocks[0], 1)
        self.down1 = Down(dim)
        self.encoder2 = stage(blocks[1], 2)
        self.down2 = Down(2 * dim)
        self.encoder3 = stage(blocks[2], 3)
        self.down3 = Down(4 * dim)
        self.latent = stage(blocks[3], 4)
        self.up3 = Up(8 * dim)
        self.reduce3 = PointwiseConv(8 * dim, 4 * dim, bias=False)
        self.decoder3 = stage(blocks[2], 3)
        self.up2 = Up(4 * dim)
        self.reduce2 = PointwiseConv(4 * dim, 2 * dim, bias=False)
        self.decoder2 = stage(blocks[1], 2)
        self.up1 = Up(2 * dim)
        self.reduce1 = PointwiseConv(2 * dim, dim, bias=False)
        self.decoder1 = stage(blocks[0], 1)
        self.refinement = stage(refinement, 1)
        self.skip = Skip()
        self.output = Fusion(PointwiseConv(3 * dim, dim, bias=False), Conv(dim, 1))

    def forward(self, image: Tensor, target: Tensor | None = None, tasks: Sequence[str] = ()) -> Tensor:
        """(B, 1, H, W) -> (B, 1, H, W), as `ResidualNetwork.forward`.

        In training mode with a target (B, 1, H, W), its features are first added to the memory; `tasks` then names the
        task of each sample. In evaluation mode the target is ignored.

        Raises
        ------
        ValueError: a task that has no slot group.
        """
        if target is not None and self.training:
            self._collect(image, target, tasks)
        return super().forward(image)

    def residual(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, 1, H, W), sides multiples of 8."""
        guides = [guide(image) for guide in self.guides]
        found = [memory(guide) for memory, guide in zip(self.memories, guides, strict=True)]
        level1 = self.encoder1(self.embed(image), found[0])
        level2 = self.encoder2(self.down1(level1), found[1])
        level3 = self.encoder3(self.down2(level2), found[2])
        x = self.latent(self.down3(level3), found[3])
        x = self.decoder3(self.reduce3(self.skip(self.up3(x), level3)), guides[2])
        x = self.decoder2(self.reduce2(self.skip(self.up2(x), level2)), guides[1])
        decoded = self.decoder1(self.reduce1(self.skip(self.up1(x), level1)), guides[0])
        refined = self.refinement(decoded, guides[0])
        return self.output(level1, decoded, refined)

    def first_level(self) -> list[nn.Module]:
        """The guides and memories too: they start from the image, and the first block uses them."""
        return [self.guides, self.memories, *super().first_level()]

    @torch.no_grad()
    def _collect(self, image: Tensor, target: Tensor, tasks: Sequence[str]) -> None:
        known = self.config["tasks"]
        if unknown := [task for task in tasks if task not in known] or len(tasks) != len(image):
            raise ValueError(f"expected one of {', '.join(known)} for each of {len(image)} samples, got {unknown}")
        groups = [known.index(task) for task in tasks]
        for guide, memory in zip(self.guides, self.memories, strict=True):
            cast(HomogeneityMemory, memory).collect(guide(self.padded(image)), guide(self.padded(target)), groups)


class Guide(nn.Module):
    """An embedding of the image at the resolution of a level: pixel-unshuffle, 3x3 convolution.

    Parameters
    ----------
    factor: by which the size is divided. channels: of the output.
    """

    def __init__(self, factor: int, channels: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = Conv(factor**2, channels)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, channels, H / factor, W / factor)."""
        return self.conv(F.pixel_unshuffle(image, self.factor))


class GuidedAttention(Attention):
    """`Attention` whose values are mixed with a guidance map (homogeneity-guided attention).

    With values V, guidance G and one λ1 (`gamma`) and λ2 (`beta`) for each channel, initially 0:
    project(A · ((1 - λ1) V + λ1 G) + λ2 (G - V)).
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__(channels, heads, DepthwiseConv(3 * channels))
        self.gamma = nn.Parameter(torch.zeros(channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor, *guidance: Tensor) -> Tensor:
        """x and the guidance map (B, C, H, W) -> (B, C, H, W)."""
        (guide,) = guidance
        query, key, value = self.kernel(self.qkv(x)).chunk(3, dim=1)
        away = guide.to(value.dtype) - value  # in bfloat16, guidance maps are in float32
        mixed = torch.cat([query, key, value + self.gamma * away], dim=1)
        attended = self.attend(mixed.flatten(2)).unflatten(2, x.shape[2:])
        return self.project(attended + self.beta * away)


class LocalBranch(nn.Module):
    """Two 3x3 convolutions, then a gate for each channel from the means over all pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner, gate = max(1, channels // 3), max(1, channels // 30)
        self.body = nn.Sequential(Conv(channels, inner, bias=True), nn.GELU(), Conv(inner, channels, bias=True))
        self.gate = nn.Sequential(
            PointwiseConv(channels, gate), nn.ReLU(), PointwiseConv(gate, channels), nn.Sigmoid()
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        u = self.body(x)
        return u * self.gate(u.mean(dim=(2, 3), keepdim=True))


class GuidedBlock(nn.Module):
    """Guided attention, feed-forward, local branch and a second feed-forward, each normalised before and added to x."""

    def __init__(self, channels: int, heads: int, expansion: float) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.norm1, self.norm2, self.norm3, self.norm4 = (ChannelNorm(channels) for _ in range(4))
        self.attention = GuidedAttention(channels, heads)
        self.feed_forward1 = FeedForward(channels, hidden, DepthwiseConv(2 * hidden))
        self.local = LocalBranch(channels)
        self.feed_forward2 = FeedForward(channels, hidden, DepthwiseConv(2 * hidden))

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """x and the guidance map (B, C, H, W) -> (B, C, H, W)."""
        x = x + self.attention(self.norm1(x), guide)
        x = x + self.feed_forward1(self.norm2(x))
        x = x + self.local(self.norm3(x))
        return x + self.feed_forward2(self.norm4(x))


class GuidedStage(Stage):
    """Guided blocks in sequence, all with the same guidance map."""
