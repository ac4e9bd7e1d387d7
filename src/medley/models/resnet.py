"""The backbone of the multi-task networks, a bottleneck ResNet (He et al., CVPR 2016, arXiv 1512.03385), and the
decoder of a U-Net (Ronneberger et al., MICCAI 2015, arXiv 1505.04597), in 2-D and 3-D.

Shapes: (B, C, *spatial), spatial (row, column) or (slice, row, column). Tensors and initial weights have the memory
format channels-last, which makes a training step on a CPU a fifth faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import gcd, log2
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_NARROWEST = 8  # channels of a decoder; fewer would not be faster


@dataclass(frozen=True)
class Layers:
    """Layers in 2-D or 3-D.

    Attributes
    ----------
    dimension: 2 or 3. norm: "batch", or "group" with up to 8 groups.
    """

    dimension: int
    norm: str

    def __post_init__(self) -> None:
        if self.dimension not in (2, 3):
            raise ValueError(f"dimension must be 2 or 3, got {self.dimension}")
        if self.norm not in ("batch", "group"):
            raise ValueError(f"norm must be 'batch' or 'group', got {self.norm!r}")

    def conv(
        self, channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1, bias: bool = False
    ) -> nn.Conv2d | nn.Conv3d:
        """A convolution with padding that keeps the size, divided by the stride; initialisation of He et al."""
        kind = nn.Conv2d if self.dimension == 2 else nn.Conv3d
        conv = kind(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=bias)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        conv.weight = nn.Parameter(conv.weight.detach().contiguous(memory_format=self.channels_last))
        return conv

    def normalise(self, channels: int) -> nn.Module:
        """The norm after a convolution."""
        if self.norm == "group":
            return nn.GroupNorm(gcd(channels, 8), channels)
        return nn.BatchNorm2d(channels) if self.dimension == 2 else nn.BatchNorm3d(channels)

    def unit(self, channels_in: int, channels_out: int, kernel: int = 1) -> nn.Sequential:
        """Convolution, norm, ReLU."""
        return nn.Sequential(
            self.conv(channels_in, channels_out, kernel), self.normalise(channels_out), nn.ReLU(inplace=True)
        )

    def double(self, x: Tensor) -> Tensor:
        """Upsampling by 2, linear interpolation."""
        return F.interpolate(x, scale_factor=2.0, mode="bilinear" if self.dimension == 2 else "trilinear")

    @property
    def channels_last(self) -> torch.memory_format:
        """The channels-last memory format of this dimension."""
        return torch.channels_last if self.dimension == 2 else torch.channels_last_3d


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution with a residual connection; the 3x3 convolution has the stride (ResNet v1.5)."""

    def __init__(self, layers: Layers, channels: int, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = layers.conv(channels, inner)
        self.bn1 = layers.normalise(inner)
        self.conv2 = layers.conv(inner, inner, 3, stride)
        self.bn2 = layers.normalise(inner)
        self.conv3 = layers.conv(inner, outer)
        self.bn3 = layers.normalise(outer)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or channels != outer:
            self.downsample = nn.Sequential(layers.conv(channels, outer, stride=stride), layers.normalise(outer))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, *spatial) -> (B, outer, *spatial / stride)."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x), inplace=True)


class Features(NamedTuple):
    """The outputs of a backbone.

    Attributes
    ----------
    finer: feature maps at a higher resolution than the first stage, from the image on, each twice as fine as the next.
    stem: the output of the stem, at the resolution of the first stage.
    stages: the output of every stage, each at half the resolution of the one before.
    """

    finer: list[Tensor]
    stem: Tensor
    stages: list[Tensor]


class ResNet(nn.Module):
    """A ResNet without classifier, with the usual names: conv1, bn1, layer1.0.conv1, layer1.0.downsample.0 ...

    Parameters
    ----------
    layers: dimension and norm.
    channels: of the image.
    width: channels of the stem and of the inner convolutions of the first stage; doubled by each stage, up to `widest`.
    widest: largest number of channels of inner convolutions; None for no limit.
    blocks: number of blocks of each stage.
    expansion: ratio of the output channels of a stage to its inner channels.
    stem: factor by which the stem reduces the size: 4, a 7x7 convolution and 3x3 max-pooling, both with stride 2; 2 or
        1, a 3x3 convolution with that stride.

    Attributes
    ----------
    inner, outer: inner and output channels of every stage.
    finer, stem_width: channels of `Features.finer` and of `Features.stem`.
    stride: the size of the image divided by that of the last stage.
    """

    def __init__(
        self,
        layers: Layers,
        channels: int,
        width: int,
        widest: int | None,
        blocks: Sequence[int],
        expansion: int,
        stem: int,
    ) -> None:
        super().__init__()
        if not blocks:
            raise ValueError("at least one stage is needed, blocks is empty")
        if min(channels, width, expansion, *blocks, *([] if widest is None else [widest])) < 1:
            raise ValueError("channels, width, widest, expansion and the numbers of blocks must be at least 1")
        if stem not in (1, 2, 4):
            raise ValueError(f"stem must be 1, 2 or 4, got {stem}")
        self.layers = layers
        self.inner = [min(width * 2**i, widest or width * 2**i) for i in range(len(blocks))]
        self.outer = [expansion * inner for inner in self.inner]
        self.stem_width = width
        self.finer = [channels, width][: int(log2(stem))]
        self.stride = stem * 2 ** (len(blocks) - 1)
        self.conv1 = layers.conv(channels, width, 7 if stem == 4 else 3, min(stem, 2))
        self.bn1 = layers.normalise(width)
        self.maxpool: nn.Module = nn.Identity()
        if stem == 4:
            self.maxpool = (nn.MaxPool2d if layers.dimension == 2 else nn.MaxPool3d)(3, 2, padding=1)
        before = width
        for i, (count, inner, outer) in enumerate(zip(blocks, self.inner, self.outer, strict=True)):
            stage = nn.Sequential()
            for j in range(count):
                stage.append(Bottleneck(layers, before, inner, outer, stride=2 if i and not j else 1))
                before = outer
            self.add_module(f"layer{i + 1}", stage)

    def forward(self, x: Tensor) -> Features:
        """x (B, channels, *spatial), sides multiples of `stride`."""
        wide = F.relu(self.bn1(self.conv1(x).contiguous(memory_format=self.layers.channels_last)), inplace=True)
        stem = self.maxpool(wide)
        stages: list[Tensor] = []
        for i in range(len(self.inner)):
            stages.append(self.get_submodule(f"layer{i + 1}")(stages[-1] if stages else stem))
        return Features([x, wide][: len(self.finer)], stem, stages)


class MapDecoder(nn.Module):
    """The decoder of a U-Net for a pixel-level target, with half the channels on each finer level.

    A skip connection with more channels than its level passes a 1x1 convolution first.

    Parameters
    ----------
    layers: dimension and norm.
    skips: channels of the input maps, from the finest to the coarsest.
    widths: channels of the decoder on each of these levels except the coarsest.
    outputs: number of output channels.
    """

    def __init__(self, layers: Layers, skips: Sequence[int], widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.layers = layers
        self.narrow, self.skip, self.join = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        before = skips[-1]
        for skip, width in zip(reversed(skips[:-1]), reversed(widths), strict=True):
            self.narrow.append(layers.conv(before, width))
            self.skip.append(layers.conv(skip, width) if skip > width else nn.Identity())
            self.join.append(layers.unit(width + min(skip, width), width, kernel=3))
            before = width
        self.answer = layers.conv(before, outputs, bias=True)
        for parameter in self.answer.parameters():
            nn.init.normal_(parameter, std=0.01)  # initial values: a map near 0, a mask near one half

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Maps from the finest to the coarsest, (B, skip, *spatial) each -> (B, outputs, *finest)."""
        x = levels[-1]
        for k, level in enumerate(reversed(levels[:-1])):
            x = self.up(k, x, level)
        return self.finish(x)

    def up(self, k: int, x: Tensor, level: Tensor) -> Tensor:
        """The k-th upsampling step, from 0: x (B, before, *spatial) and the map of the next finer level."""
        up = self.layers.double(self.narrow[k](x))
        return self.join[k](torch.cat([up, self.skip[k](level).to(up.dtype)], dim=1))

    def finish(self, x: Tensor) -> Tensor:
        """The features of the finest level -> (B, outputs, *finest)."""
        with full_precision(x):  # the 8 bits of bfloat16 are too few for a dose
            return self.answer(x.to(self.answer.weight.dtype))


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """A context without autocast; the device "meta", on which costs are counted, has no autocast."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def decoder_widths(backbone: ResNet) -> list[int]:
    """Channels of a decoder on each level: the inner channels of the stage, and half as many on each finer grid."""
    finer = [max(_NARROWEST, backbone.inner[0] // 2**i) for i in range(len(backbone.finer), 0, -1)]
    return [*finer, *backbone.inner[:-1]]
