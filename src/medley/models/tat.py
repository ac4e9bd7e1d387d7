"""TAT, the task-adaptive transformer for all-in-one medical image restoration (arXiv 2512.14550).

From its own features of a sample the network generates depthwise kernels for this sample, so that a CT slice and a PET
slice run through different networks that share most of their weights. Feature maps are (B, C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from medley.models.blocks import Kernels, Trunk
from medley.models.layers import Conv, Fusion, PointwiseConv

_SHUFFLE = 4  # the generator works at half the resolution of the image


class TAT(Trunk):
    """The task-adaptive transformer; the defaults are those of the paper, 41.69 M parameters.

    Parameters
    ----------
    dim, blocks, refinement, heads, expansion: as in `Trunk`.
    window: attention is local in maps larger than window / heads pixels a side; None: it is global everywhere.
    generator_width: width of the first convolutions of the kernel generator.
    adaptive: whether depthwise kernels are generated for each sample. False for the ablation: the depthwise
        convolutions of all stages are those of Restormer, and there is no generator; the rest is unchanged.
    """

    def __init__(
        self,
        *,
        dim: int = 48,
        blocks: Sequence[int] = (4, 6, 6, 8),
        refinement: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        expansion: float = 2.66,
        window: int | None = 192,
        generator_width: int = 64,
        adaptive: bool = True,
    ) -> None:
        super().__init__(dim, blocks, refinement, heads, expansion, adaptive=adaptive, window=window)
        self.config |= {"window": window, "generator_width": generator_width, "adaptive": adaptive}
        self.generator = KernelGenerator(8 * dim, generator_width, expansion) if adaptive else None
        self.output = Fusion(Conv(5 * dim, dim), nn.GELU(), PointwiseConv(dim, dim, bias=False), Conv(dim, 1))

    def residual(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, 1, H, W), sides multiples of 8."""
        level1 = self.encoder1(self.embed(image))
        level2 = self.encoder2(self.down1(level1))
        level3 = self.encoder3(self.down2(level2))
        x = self.down3(level3)
        kernels = self.generator(x.detach()) if self.generator is not None else {}
        x = self.latent(x, kernels.get("latent"))
        x = self.decoder3(self.reduce3(self.skip(self.up3(x), level3)), kernels.get("level3"))
        x = self.decoder2(self.reduce2(self.skip(self.up2(x), level2)), kernels.get("level2"))
        decoded = self.decoder1(self.skip(self.up1(x), level1), kernels.get("level1"))
        refined = self.refinement(decoded, kernels.get("level1"))
        return self.output(level1, decoded, refined)


class KernelGenerator(nn.Module):
    """The weight generation network: features of a sample -> depthwise kernels for this sample.

    Parameters
    ----------
    channels: of the features, which are those of level 4; the decoder levels have 1/2, 1/4 and 1/4 as many.
    width: of the first convolutions; the last has four times as many channels.
    expansion: as in `Trunk`; it determines the number of kernels.
    """

    def __init__(self, channels: int, width: int, expansion: float) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            Conv(channels // _SHUFFLE**2, width, bias=True),
            nn.GELU(),
            ResidualConvs(width),
            ResidualConvs(width),
            Conv(width, width),
            nn.GELU(),
            Conv(width, 2 * width),
            nn.GELU(),
            Conv(2 * width, 4 * width),
            nn.GELU(),
        )
        self.mix = nn.Sequential(
            nn.Linear(4 * width, 4 * width, bias=False),
            nn.GELU(),
            nn.Linear(4 * width, 4 * width, bias=False),
            nn.GELU(),
        )
        levels = {"latent": channels, "level3": channels // 2, "level2": channels // 4, "level1": channels // 4}
        self.attention = nn.ModuleDict(
            {level: nn.Linear(4 * width, 9 * 3 * c, bias=False) for level, c in levels.items()}
        )
        self.feed_forward = nn.ModuleDict(
            {level: nn.Linear(4 * width, 9 * 2 * int(c * expansion), bias=False) for level, c in levels.items()}
        )

    def forward(self, features: Tensor) -> dict[str, Kernels]:
        """features (B, C, H, W) -> for every level the kernels (B, channels, 1, 3, 3) of (attention, feed-forward)."""
        code = self.mix(self.encode(F.pixel_shuffle(features, _SHUFFLE)).mean(dim=(2, 3)))  # (B, 4·width)

        def kernels(linear: nn.Module) -> Tensor:
            return F.gelu(linear(code)).unflatten(1, (-1, 1, 3, 3))

        return {level: (kernels(self.attention[level]), kernels(self.feed_forward[level])) for level in self.attention}


class ResidualConvs(nn.Module):
    """x + conv(gelu(conv(x))), with biases: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(Conv(channels, channels, bias=True), nn.GELU(), Conv(channels, channels, bias=True))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + self.body(x)
