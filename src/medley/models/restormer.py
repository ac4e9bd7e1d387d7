"""Restormer (Zamir et al., CVPR 2022, arXiv 2111.09881), for single-channel images. Feature maps are (B, C, H, W)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from medley.models.blocks import Trunk
from medley.models.layers import Conv


class Restormer(Trunk):
    """Restormer; the defaults are those of the paper, 26.1 M parameters. The arguments are those of `Trunk`."""

    def __init__(
        self,
        *,
        dim: int = 48,
        blocks: Sequence[int] = (4, 6, 6, 8),
        refinement: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        expansion: float = 2.66,
    ) -> None:
        super().__init__(dim, blocks, refinement, heads, expansion)
        self.output = Conv(2 * dim, 1)

    def residual(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, 1, H, W), sides multiples of 8."""
        level1 = self.encoder1(self.embed(image))
        level2 = self.encoder2(self.down1(level1))
        level3 = self.encoder3(self.down2(level2))
        x = self.latent(self.down3(level3))
        x = self.decoder3(self.reduce3(self.skip(self.up3(x), level3)))
        x = self.decoder2(self.reduce2(self.skip(self.up2(x), level2)))
        x = self.decoder1(self.skip(self.up1(x), level1))
        return self.output(self.refinement(x))
