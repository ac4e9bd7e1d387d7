"""Layers of the restorers, in textbook form: feature maps are (B, C, H, W)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Conv2d):
    """A 3x3 convolution; zero padding and no bias by default."""

    def __init__(self, channels_in: int, channels_out: int, **options: Any) -> None:
        super().__init__(channels_in, channels_out, 3, **({"padding": 1, "bias": False} | options))


class PointwiseConv(nn.Linear):
    """A 1x1 convolution, (B, C_in, H, W) -> (B, C_out, H, W); its weight is a matrix (C_out, C_in)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W)."""
        return F.conv2d(x, self.weight[:, :, None, None], self.bias)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class DepthwiseConv(nn.Conv2d):
    """A 3x3 depthwise convolution with zero padding and no bias: one kernel for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=channels)
        self.bias = None  # drawn and dropped, so that a random seed gives the weights that it always gave

    def kernels(self) -> Tensor:
        """The kernels, (C, 1, 3, 3)."""
        return self.weight


class AdaptiveDepthwiseConv(nn.Module):
    """A 3x3 depthwise convolution whose kernels differ from sample to sample (TAT, arXiv 2512.14550).

    The kernels of sample b are `weight + strength · generated_b`; `strength` (lambda in the paper), one number for each
    channel, starts at 0.

    Parameters
    ----------
    std: standard deviation of the initial `weight`.
    """

    def __init__(self, channels: int, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(std * torch.randn(channels, 1, 3, 3))
        self.strength = nn.Parameter(torch.zeros(channels, 1, 1, 1))

    def kernels(self, generated: Tensor) -> Tensor:
        """The kernels of every sample from the generated ones, both (B, C, 1, 3, 3)."""
        return self.weight + self.strength * generated

    def forward(self, x: Tensor, generated: Tensor) -> Tensor:
        """x (B, C, H, W), generated (B, C, 1, 3, 3) -> (B, C, H, W)."""
        batch, channels, height, width = x.shape
        kernels = self.kernels(generated).flatten(0, 1)  # (B·C, 1, 3, 3)
        grouped = x.reshape(1, batch * channels, height, width)
        return F.conv2d(grouped, kernels, padding=1, groups=batch * channels).view(x.shape)


class Down(nn.Module):
    """3x3 convolution to half the channels, then pixel-unshuffle: (B, C, H, W) -> (B, 2C, H/2, W/2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 2C, H/2, W/2)."""
        return F.pixel_unshuffle(self.conv(x), 2)


class Up(nn.Module):
    """3x3 convolution to twice the channels, then pixel-shuffle: (B, C, H, W) -> (B, C/2, 2H, 2W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels, 2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C/2, 2H, 2W)."""
        return F.pixel_shuffle(self.conv(x), 2)


class Skip(nn.Module):
    """A skip connection: concatenates maps along the channels."""

    def forward(self, *maps: Tensor) -> Tensor:
        """Maps (B, C_i, H, W) -> (B, sum of C_i, H, W)."""
        return torch.cat(maps, dim=1)


class Fusion(nn.Sequential):
    """Layers applied to the concatenation of several maps."""

    def forward(self, *maps: Tensor) -> Tensor:
        """Maps (B, C_i, H, W) -> the output of the last layer."""
        return super().forward(torch.cat(maps, dim=1))
