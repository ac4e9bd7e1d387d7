"""TAT, the task-adaptive transformer for all-in-one medical image restoration (arXiv 2512.14550).

The network looks at its own features of a sample and generates depthwise kernels for it, so that a CT slice and a PET
slice run through different networks that share most of their weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.models.blocks import Conv, Kernels, Trunk, pixel_shuffle
from medley.models.depthwise import joined, pieces, rows_at_once, strips

_SHUFFLE = 4  # the generator works at half the image's size


class TAT(Trunk):
    """The task-adaptive transformer; the defaults are the paper's, 41.69 M parameters.

    Parameters
    ----------
    dim, blocks, refinement, heads, expansion: as in `Trunk`.
    window: maps larger than window / heads have local attention; None, no map has.
    generator_width: width of the convolutions that read the features for the generated kernels.
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
    ) -> None:
        super().__init__(dim, blocks, refinement, heads, expansion, adaptive=True, window=window)
        self.config |= {"window": window, "generator_width": generator_width}
        self.generator = KernelGenerator(8 * dim, generator_width, expansion)
        self.output = nn.Sequential(Conv(5 * dim, dim), nn.GELU(), nn.Linear(dim, dim, bias=False), Conv(dim, 1))

    def residual(self, image: Tensor) -> Tensor:
        """(H, W, B, 1) -> (H, W, B, 1), sides multiples of 8."""
        level1 = self.encoder1(self.embed(image))
        level2 = self.encoder2(self.down1(level1))
        level3 = self.encoder3(self.down2(level2))
        x = self.down3(level3)
        kernels = self.generator(x.detach())
        x = self.latent(x, kernels["latent"])
        x = self.decoder3(self.reduce3(torch.cat([self.up3(x), level3], dim=3)), kernels["level3"])
        x = self.decoder2(self.reduce2(torch.cat([self.up2(x), level2], dim=3)), kernels["level2"])
        decoded = self.decoder1(torch.cat([self.up1(x), level1], dim=3), kernels["level1"])
        refined = self.refinement(decoded.clone(), kernels["level1"])  # whose memory it may take
        return self._read_out(level1, decoded, refined)

    def _read_out(self, *features: Tensor) -> Tensor:
        """Maps (H, W, B, C) -> (H, W, B, 1), strip by strip: side by side they are the widest map of the network."""
        output = cast(nn.Sequential, self.output)
        mix, last = output[:-1], output[-1]
        height = len(features[0])
        rows = pieces(height, rows_at_once(features[0], sum(one.shape[3] for one in features)))
        parts = zip(*(strips(one, rows) for one in features), strict=True)
        mixed = (mix(torch.cat([strip for strip, _ in part], dim=3))[part[0][1]] for part in parts)
        return cast(Tensor, last(joined(mixed, height)))


class KernelGenerator(nn.Module):
    """The weight generation network: features of a sample -> depthwise kernels for it.

    Parameters
    ----------
    channels: of the features, those of level 4; the levels of the decoder have 1/2, 1/4 and 1/4 of them.
    width: of the first convolutions; the last has four times as many channels.
    expansion: as in `Trunk`; the kernels' number follows from it.
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
        """features (H, W, B, C) -> per level the kernels (B, channels, 1, 3, 3) of (attention, feed-forward)."""
        code = self.mix(self.encode(pixel_shuffle(features, _SHUFFLE)).mean(dim=(0, 1)))  # (B, 4·width)

        def kernels(linear: nn.Module) -> Tensor:
            return F.gelu(linear(code)).unflatten(1, (-1, 1, 3, 3))

        return {level: (kernels(self.attention[level]), kernels(self.feed_forward[level])) for level in self.attention}


class ResidualConvs(nn.Module):
    """x + conv(gelu(conv(x))), with biases: (H, W, B, C) -> (H, W, B, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(Conv(channels, channels, bias=True), nn.GELU(), Conv(channels, channels, bias=True))

    def forward(self, x: Tensor) -> Tensor:
        """(H, W, B, C) -> (H, W, B, C)."""
        return x + self.body(x)
