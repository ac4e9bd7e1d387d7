"""The fast forms of the layers of `medley.models.slab`."""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from medley.models.fast._depthwise import mix_depthwise, packed, turned
from medley.models.fast._strips import added, pieces, rows_at_once, strips
from medley.models.slab import Double, GatedBlock, Halve


class FastGatedBlock(GatedBlock):
    """`GatedBlock` by strips; without gradients the result overwrites the input.

    Values and gates are computed separately, so that each lies contiguously in memory: their product is then faster.
    """

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (B, C, H, W), condition (B, width) -> (B, C, H, W)."""
        maps = packed(x)
        scale, shift, first, second = self.modulate(condition).to(x.dtype).chunk(4, dim=1)  # (B, C) each
        maps = added(maps, self._depthwise_step(maps, scale, shift, first))
        maps = added(maps, self._pointwise_step(maps, second))
        return turned(maps)

    def _depthwise_step(self, x: Tensor, scale: Tensor, shift: Tensor, strength: Tensor) -> Iterator[Tensor]:
        normed = _modulated_norm(self.norm1, x, scale, shift)
        rows = pieces(len(x), rows_at_once(x, 2 * x.shape[3]))
        halves = [*zip(self.expand1.weight.chunk(2), self.kernel.weight.chunk(2), strict=True)]
        for strip, kept in strips(normed, rows):
            value, gate = (mix_depthwise(strip, *half)[kept] for half in halves)
            yield _scaled_product(value * gate, self.project1.weight, strength)

    def _pointwise_step(self, x: Tensor, strength: Tensor) -> Iterator[Tensor]:
        halves = self.expand2.weight.chunk(2)
        for strip in x.split(pieces(len(x), rows_at_once(x, 2 * x.shape[3]))):
            normed = nn.LayerNorm.forward(self.norm2, strip)
            value, gate = (F.linear(normed, half) for half in halves)
            yield _scaled_product(value * gate, self.project2.weight, strength)


class FastHalve(Halve):
    """`Halve` with the channels last in memory; the four pixels of a square come before the channels."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 2C, H/2, W/2)."""
        maps = turned(x).unflatten(1, (-1, 2)).unflatten(0, (-1, 2))  # (H/2, 2, W/2, 2, B, C)
        weight = self.mix.weight.unflatten(1, (-1, 2, 2)).permute(0, 2, 3, 1).flatten(1)
        return turned(F.linear(maps.permute(0, 2, 4, 1, 3, 5).flatten(3), weight))


class FastDouble(Double):
    """`Double` with the channels last in memory; the four pixels of a square come before the channels."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C/2, 2H, 2W)."""
        weight = self.mix.weight.unflatten(0, (-1, 2, 2)).permute(1, 2, 0, 3).flatten(0, 2)
        maps = F.linear(turned(x), weight).unflatten(3, (2, 2, -1))  # (H, W, B, 2, 2, C/2)
        return turned(maps.permute(0, 3, 1, 4, 2, 5).flatten(2, 3).flatten(0, 1))


def _modulated_norm(norm: nn.LayerNorm, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """norm(x) · (1 + scale) + shift, for x (H, W, B, C) and (B, C); in one pass for a single sample."""
    if len(scale) == 1:
        weight, bias = norm.weight * (1 + scale[0]), norm.bias * (1 + scale[0]) + shift[0]
        return F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)
    return nn.LayerNorm.forward(norm, x) * (1 + scale) + shift


def _scaled_product(x: Tensor, weight: Tensor, strength: Tensor) -> Tensor:
    """strength · (x @ weight.T), for x (H, W, B, C) and strength (B, C); in one pass for a single sample."""
    if len(strength) == 1:
        return F.linear(x, weight * strength[0][:, None])
    return F.linear(x, weight) * strength
