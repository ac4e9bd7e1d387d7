"""SlabNet: medley's own restorer. A gated convolutional U-Net that uses neighbouring slices and acquisition data.

Ideas it builds on: gating by a product instead of an activation, and a U-Net of such blocks (NAFNet, Chen et al., ECCV
2022, arXiv 2204.04676); scale and shift of features by a conditioning vector, whose effect starts at zero (FiLM, Perez
et al., AAAI 2018, arXiv 1709.07871; adaLN-Zero, Peebles and Xie, ICCV 2023, arXiv 2212.09748).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medley.models.blocks import LEVELS, SMALLEST_SIDE, RestorationNetwork
from medley.models.layers import ChannelNorm, Conv, DepthwiseConv, PointwiseConv

_CONDITION = 32  # width of the conditioning features

# Typical sizes of the papers' degradations, as fractions of the range.
SCALES = {
    "mr-sr": 0.03,
    "ct-denoise": 0.003,
    "pet-denoise": 0.006,
    "xray-denoise": 0.1,
    "us-denoise": 0.1,
    "oct-denoise": 0.06,
    "path-sr": 0.03,
}

# Numbers of the acquisition that the network gets beside the name of the task, see `medley.inference.conditions`.
MEASURED = ("noise", "coarse noise", "distance before", "distance after", "pixel size")


class GatedBlock(nn.Module):
    """Two gated residual steps, whose scale, shift and strength depend on the condition.

    With `m` = four vectors of length C, a linear function of the condition that starts at zero:

        y = norm1(x) · (1 + m1) + m2;    x = x + m3 · project1(product of the halves of depthwise3x3(expand1(y)))
                                         x = x + m4 · project2(product of the halves of expand2(norm2(x)))

    The block therefore starts as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.expand1 = PointwiseConv(channels, 2 * channels, bias=False)
        self.kernel = DepthwiseConv(2 * channels)
        self.project1 = PointwiseConv(channels, channels, bias=False)
        self.norm2 = ChannelNorm(channels)
        self.expand2 = PointwiseConv(channels, 2 * channels, bias=False)
        self.project2 = PointwiseConv(channels, channels, bias=False)
        self.modulate = nn.Linear(_CONDITION, 4 * channels)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (B, C, H, W), condition (B, width) -> (B, C, H, W)."""
        scale, shift, first, second = self.modulate(condition)[:, :, None, None].chunk(4, dim=1)
        value, gate = self.kernel(self.expand1(self.norm1(x) * (1 + scale) + shift)).chunk(2, dim=1)
        x = x + first * self.project1(value * gate)
        value, gate = self.expand2(self.norm2(x)).chunk(2, dim=1)
        return x + second * self.project2(value * gate)


class GatedStage(nn.ModuleList):
    """Blocks in sequence. `recompute`: gradient checkpointing, as in `medley.models.blocks.Stage`."""

    recompute = False

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (B, C, H, W), condition (B, width) -> (B, C, H, W)."""
        for block in self:
            if self.recompute and x.requires_grad:
                x = checkpoint(block, x, condition, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x, condition)
        return x


class Halve(nn.Module):
    """Pixel-unshuffle by 2, then a 1x1 convolution: (B, C, H, W) -> (B, 2C, H/2, W/2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = PointwiseConv(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 2C, H/2, W/2)."""
        return self.mix(F.pixel_unshuffle(x, 2))


class Double(nn.Module):
    """A 1x1 convolution, then pixel-shuffle by 2: (B, C, H, W) -> (B, C/2, 2H, 2W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = PointwiseConv(channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C/2, 2H, 2W)."""
        return F.pixel_shuffle(self.mix(x), 2)


class SlabNet(RestorationNetwork):
    """A restorer of slices with their neighbours.

    Its input are the slices and their details d = (slice - mean over 5 x 5 pixels) / scale of the task, compressed to
    sign(d) · ln(1 + |d|). The output of the U-Net is multiplied by this scale and a factor that depends on the
    condition and is initially 1.

    Parameters
    ----------
    dim: width of level 1; level l has width dim · 2^(l-1) at 1 / 2^(l-1) of the image size.
    blocks: number of blocks of the encoder on levels 1 to 3 and of the latent level 4.
    decoder: number of blocks of the decoder on levels 1 to 3.
    reach: number of neighbouring slices on each side of the slice that is restored.
    tasks: the names of the tasks, in the order of the network's input, each with the typical size of what is removed,
        as a fraction of the range. Details of the input are given to the network in this unit, and its output is
        multiplied by it: the noise of a CT is a fifth of a percent of its range.
    measured: whether the network uses the numbers in `MEASURED`; False for the ablation: they are replaced by 0.

    Raises
    ------
    ValueError: the arguments contradict each other.
    """

    inputs = ("slabs", "conditions")
    scales: Tensor

    def __init__(
        self,
        dim: int = 24,
        blocks: Sequence[int] = (1, 1, 2, 4),
        decoder: Sequence[int] = (1, 1, 1),
        reach: int = 1,
        tasks: Mapping[str, float] = SCALES,
        measured: bool = True,
    ) -> None:
        super().__init__()
        if len(blocks) != LEVELS or len(decoder) != LEVELS - 1:
            raise ValueError(f"there are {LEVELS} levels: blocks is {tuple(blocks)} and decoder is {tuple(decoder)}")
        if reach < 0 or dim < 1 or not tasks or min(tasks.values()) <= 0:
            raise ValueError(f"expected reach >= 0, dim >= 1 and tasks above 0, got {reach}, {dim} and {dict(tasks)}")
        self.config: dict[str, Any] = {
            "dim": dim,
            "blocks": list(blocks),
            "decoder": list(decoder),
            "reach": reach,
            "tasks": dict(tasks),
            "measured": measured,
        }
        self.reach = reach
        self.measured = measured
        self.conditions = len(tasks) + len(MEASURED)
        widths = [dim * 2**level for level in range(LEVELS)]
        self.condition = nn.Sequential(
            nn.Linear(self.conditions, _CONDITION), nn.GELU(), nn.Linear(_CONDITION, _CONDITION), nn.GELU()
        )
        self.register_buffer("scales", torch.tensor(list(tasks.values())))
        self.amplify = nn.Linear(_CONDITION, 1)
        nn.init.zeros_(self.amplify.weight)
        nn.init.zeros_(self.amplify.bias)
        self.embed = Conv(2 * (2 * reach + 1), dim, bias=True)
        self.encoder = nn.ModuleList(
            GatedStage(GatedBlock(width) for _ in range(count)) for width, count in zip(widths, blocks, strict=True)
        )
        self.down = nn.ModuleList(Halve(width) for width in widths[:-1])
        self.up = nn.ModuleList(Double(width) for width in widths[1:])
        self.decoder = nn.ModuleList(
            GatedStage(GatedBlock(width) for _ in range(count))
            for width, count in zip(widths[:-1], decoder, strict=True)
        )
        self.output = Conv(dim, 1)
        nn.init.zeros_(self.output.weight)

    def forward(self, slabs: Tensor, conditions: Tensor) -> Tensor:
        """The restored slices.

        Parameters
        ----------
        slabs: (B, 2 · reach + 1, H, W), values as of `Normalisation.compress`; any B, H and W from 16 up. Sides that
            are not multiples of 8 are padded by reflection, below and to the right, and cropped afterwards.
        conditions: (B, tasks + 5), see `medley.inference.conditions`.

        Returns
        -------
        (B, 1, H, W), in the same scale.

        Raises
        ------
        ValueError: another shape.
        """
        height, width = slabs.shape[2:]
        if slabs.shape[1] != 2 * self.reach + 1 or min(height, width) < SMALLEST_SIDE:
            raise ValueError(
                f"expected slabs (B, {2 * self.reach + 1}, H, W) of at least {SMALLEST_SIDE} pixels a side, got "
                f"{tuple(slabs.shape)}"
            )
        padded = self.padded(slabs)
        return (self.centre(padded) + self.residual(padded, conditions))[:, :, :height, :width]

    def centre(self, image: Tensor) -> Tensor:
        """The slices in the middle of slabs, (B, 1, H, W)."""
        return image[:, self.reach : self.reach + 1]

    def example(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        """Random slabs and conditions."""
        return torch.rand(batch, 2 * self.reach + 1, height, width), _conditions(batch, len(self.scales))

    def first_level(self) -> list[nn.Module]:
        """The embedding, what is computed from the conditions, and the first stage of the encoder."""
        return [self.condition, self.amplify, self.embed, self.encoder[0]]

    def starting_tensors(self, start: nn.Module) -> dict[str, Tensor]:
        """The tensors of a SlabNet with other tasks: the columns of its tasks, and their mean for a task it lacks."""
        tensors, known = start.state_dict(), [*cast(dict[str, Any], start.config)["tasks"]]
        weight = tensors["condition.0.weight"]
        columns = weight[:, : len(known)]
        own = [columns[:, known.index(name)] if name in known else columns.mean(dim=1) for name in self.config["tasks"]]
        tensors["condition.0.weight"] = torch.cat([torch.stack(own, dim=1), weight[:, len(known) :]], dim=1)
        tensors["scales"] = self.scales
        return tensors

    def residual(self, slabs: Tensor, conditions: Tensor) -> Tensor:
        """What is added to the slices in the middle: (B, 2 · reach + 1, H, W) -> (B, 1, H, W), sides multiples of 8."""
        if not self.measured:
            conditions = F.pad(conditions[:, : len(self.scales)], (0, len(MEASURED)))
        condition = self.condition(conditions)
        scale = (conditions[:, : len(self.scales)] @ self.scales)[:, None, None, None]  # that of the task
        details = (slabs - local_mean(slabs)) / scale
        x = self.embed(torch.cat([slabs, details.sign() * details.abs().log1p()], dim=1))
        skips = []
        for stage, down in zip(self.encoder, [*self.down, None], strict=True):
            x = stage(x, condition)
            if down is not None:
                skips.append(x)
                x = down(x)
        for stage, up, skip in reversed([*zip(self.decoder, self.up, skips, strict=True)]):
            x = stage(up(x) + skip, condition)
        return self.output(x) * scale * self.amplify(condition).exp()[:, :, None, None]


def local_mean(image: Tensor, side: int = 5) -> Tensor:
    """The mean over a square around every pixel, of the pixels inside the image: (B, C, H, W) -> the same shape."""
    rows = F.avg_pool2d(image, (side, 1), 1, (side // 2, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, side), 1, (0, side // 2), count_include_pad=False)


def _conditions(batch: int, tasks: int) -> Tensor:
    """Random conditions of random tasks."""
    return torch.cat([torch.eye(tasks)[torch.randint(tasks, (batch,))], torch.rand(batch, len(MEASURED))], dim=1)
