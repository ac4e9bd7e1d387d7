"""1x1 and depthwise convolution of maps (H, W, B, C), and the change between this layout and (B, C, H, W)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def turned(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (H, W, B, C) and back: a view of the same memory."""
    return x.permute(2, 3, 0, 1)


def packed(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (H, W, B, C), contiguous; a copy only if the memory is in another order."""
    return turned(x).contiguous()


def mix_depthwise(x: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """A 1x1 convolution, then a 3x3 depthwise convolution with zero padding.

    x (H, W, B, C), weight (D, C), kernel (D, 1, 3, 3) or, for every sample, (B, D, 1, 3, 3) -> (H, W, B, D)
    """
    x = F.linear(x, weight)  # (H, W, B, D)
    if x.dtype == torch.float64:  # for tests of exactness only: torch has no fast depthwise convolution of doubles
        return _shifted_products(x, kernel)
    batch, channels = x.shape[2:]
    kernels = kernel.expand(batch, channels, 1, 3, 3).flatten(0, 1)  # (B·D, 1, 3, 3)
    grouped = x.flatten(2).unsqueeze(0).permute(0, 3, 1, 2)  # (1, B·D, H, W), channels last in memory
    grouped = F.conv2d(grouped, kernels, padding=1, groups=batch * channels)
    return grouped.permute(0, 2, 3, 1).squeeze(0).unflatten(2, (batch, channels))


def _shifted_products(x: Tensor, kernel: Tensor) -> Tensor:
    """The depthwise convolution by its definition; shapes as in `mix_depthwise`."""
    height, width = x.shape[:2]
    padded = F.pad(x, (0, 0, 0, 0, 1, 1, 1, 1))
    total = torch.zeros_like(x)
    for i in range(3):
        for j in range(3):
            total = torch.addcmul(total, padded[i : i + height, j : j + width], kernel[..., 0, i, j])
    return total
