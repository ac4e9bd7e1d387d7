"""Multi-Dconv head transposed attention (MDTA, Restormer sec. 3.1): attention across channels.

Feature maps are (B, C, H, W). This is the textbook form; `medley.models.fast` has an equal one that is faster.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.models.layers import PointwiseConv


class Attention(nn.Module):
    """Attention across channels: the similarity of every pair of channels, over all pixels.

    Parameters
    ----------
    channels, heads: each head has channels / heads consecutive channels.
    depthwise: 3x3 depthwise convolution of q, k and v, 3 · channels channels.
    window: None, or the side in pixels above which attention is local (test-time local conversion, Chu et al.,
        arXiv 2112.04491): attention is computed in overlapping windows of this side, and results are averaged where
        windows overlap.
    """

    def __init__(self, channels: int, heads: int, depthwise: nn.Module, window: int | None = None) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = PointwiseConv(channels, 3 * channels, bias=False)
        self.kernel = depthwise
        self.project = PointwiseConv(channels, channels, bias=False)

    def forward(self, x: Tensor, *generated: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W); `generated` kernels (B, 3C, 1, 3, 3) for an adaptive convolution."""
        height, width = x.shape[2:]
        qkv = self.kernel(self.qkv(x), *generated)  # (B, 3C, H, W)
        if self.window is None:
            return self.project(self.attend(qkv.flatten(2)).unflatten(2, (height, width)))
        total, count = torch.zeros_like(x), x.new_zeros(height, width)
        for rows in windows(height, self.window):
            for columns in windows(width, self.window):
                part = qkv[:, :, rows, columns]
                total[:, :, rows, columns] += self.attend(part.flatten(2)).unflatten(2, part.shape[2:])
                count[rows, columns] += 1
        return self.project(total / count)

    def attend(self, qkv: Tensor) -> Tensor:
        """softmax(cosine(q, k) · temperature) v over N pixels: q, k and v together (B, 3C, N) -> (B, C, N)."""
        q, k, v = (t.unflatten(1, (self.heads, -1)) for t in qkv.chunk(3, dim=1))  # (B, heads, C/heads, N) each
        q, k = (F.normalize(t.to(self.temperature.dtype), dim=3) for t in (q, k))  # in bfloat16, sums are in float32
        cosine = q @ k.transpose(2, 3)  # (B, heads, C/heads, C/heads)
        return ((cosine * self.temperature).softmax(dim=3).to(v.dtype) @ v).flatten(1, 2)


def windows(side: int, window: int) -> Iterator[slice]:
    """The fewest overlapping windows that cover `side` pixels, evenly spaced, the last one at the border."""
    window = min(side, window)
    count = (side - 1) // window + 1
    step = -(-(side - window) // (count - 1)) if count > 1 else window
    for i in range(count):
        start = min(i * step, side - window)
        yield slice(start, start + window)
