"""What Restormer, TAT and AMIR are built of: the block of Restormer (arXiv 2111.09881) and its U-shaped trunk.

Feature maps are channels-last here, (B, H, W, C), because that is fast on a CPU: a 1x1 convolution is then one matrix
product (`nn.Linear`), layer norm runs along the memory, and the depthwise convolution reads whole cache lines. Images
enter and leave the networks as (B, 1, H, W).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 8  # the trunk halves an image three times
SMALLEST_SIDE = 16

# Generated depthwise kernels of one sample each, for (attention, feed-forward): (B, channels, 1, 3, 3).
Kernels = tuple[Tensor, Tensor]


class Conv(nn.Conv2d):
    """A convolution of channels-last maps, (B, H, W, C_in) -> (B, H', W', C_out); 3x3 with zero padding and no bias
    unless said."""

    def __init__(self, channels_in: int, channels_out: int, **options: Any) -> None:
        super().__init__(channels_in, channels_out, 3, **({"padding": 1, "bias": False} | options))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C_in) -> (B, H', W', C_out)."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()


class Depthwise(Conv):
    """A 3x3 convolution of every channel with its own kernel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, groups=channels)


class AdaptiveDepthwise(nn.Module):
    """A depthwise 3x3 convolution whose kernels differ from sample to sample (TAT, sec. 3.2).

    The kernel of sample b is `kernel + strength · generated_b`; `strength` (lambda in the paper), one number a
    channel, starts at 0. `std` is the spread that `kernel` starts with.
    """

    def __init__(self, channels: int, std: float) -> None:
        super().__init__()
        self.kernel = nn.Parameter(std * torch.randn(channels, 1, 3, 3))
        self.strength = nn.Parameter(torch.zeros(channels, 1, 1, 1))

    def forward(self, x: Tensor, generated: Tensor) -> Tensor:
        """x (B, H, W, C), generated (B, C, 1, 3, 3) -> (B, H, W, C)."""
        kernels = self.kernel + self.strength * generated
        x = x.permute(0, 3, 1, 2)
        # One convolution a sample: channels-last, this is several times faster than one with B·C groups.
        samples = [
            F.conv2d(sample, kernel, padding=1, groups=kernel.shape[0])
            for sample, kernel in zip(x.split(1), kernels.unbind(), strict=True)
        ]
        return torch.cat(samples).permute(0, 2, 3, 1).contiguous()


class Attention(nn.Module):
    """Attention across channels: which channel looks like which, over all pixels (MDTA, Restormer sec. 3.1).

    Parameters
    ----------
    channels, heads: the channels are dealt out to the heads in turn, channels / heads to each.
    depthwise: what follows the 1x1 convolution to q, k and v; takes generated kernels when it is adaptive.
    window: None, or the side in pixels above which attention is local (test-time local conversion): the map is cut
        into overlapping windows of this side, each has its own attention, and results are averaged where they overlap.
    """

    def __init__(self, channels: int, heads: int, depthwise: nn.Module, window: int | None = None) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.depthwise = depthwise
        self.project = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor, *kernels: Tensor) -> Tensor:
        """x (B, H, W, C) -> (B, H, W, C); `kernels` goes to an adaptive depthwise convolution."""
        qkv = self.depthwise(self.qkv(x), *kernels)  # (B, H, W, 3C)
        _, height, width, _ = x.shape
        if self.window is None or max(height, width) <= self.window:
            return self._attend(qkv)
        mixed, times = torch.zeros_like(qkv[..., : x.shape[3]]), qkv.new_zeros(height, width, 1)
        for rows in windows(height, self.window):
            for columns in windows(width, self.window):
                mixed[:, rows, columns] += self._attend(qkv[:, rows, columns])
                times[rows, columns] += 1
        return mixed / times

    def _attend(self, qkv: Tensor) -> Tensor:
        """(B, H, W, 3C) -> (B, H, W, C): attention over all these pixels, and the output projection."""
        batch, height, width, _ = qkv.shape
        q, k, v = qkv.flatten(1, 2).chunk(3, dim=2)  # (B, N, C) each
        matrix = attention_matrix(q, k, self.temperature)  # (B, heads, C/heads, C/heads)
        # Attention and the projection are both linear in v: fold the two small matrices, then touch the pixels once.
        project = self.project.weight.unflatten(1, (self.heads, -1))  # (C, heads, C/heads)
        folded = torch.einsum("ohc,bhcd->bhdo", project, matrix.to(project.dtype)).flatten(1, 2)  # (B, C, C)
        return torch.bmm(v, folded.to(v.dtype)).unflatten(1, (height, width))


def attention_matrix(q: Tensor, k: Tensor, temperature: Tensor) -> Tensor:
    """softmax(cosine(q_i, k_j) · temperature), for the channels i and j of each head, at least in float32.

    q, k (B, N, C), temperature (heads, 1, 1) -> (B, heads, C/heads, C/heads). The cosine is taken of the sums over the
    N pixels: q and k themselves need not be normalised.
    """
    heads = temperature.shape[0]
    with torch.autocast(q.device.type, enabled=False):
        q, k = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in (q, k))
        # One product of all channels with all, then the blocks of the heads: large products run faster than many.
        products = torch.bmm(q.transpose(1, 2), k)  # (B, C, C)
        products = products.unflatten(2, (heads, -1)).unflatten(1, (heads, -1))  # (B, heads, C/heads, heads, C/heads)
        products = products.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)  # (B, heads, C/heads, C/heads)
        length_q, length_k = ((t * t).sum(1).sqrt().clamp_min(1e-12).unflatten(1, (heads, -1)) for t in (q, k))
        cosine = products / (length_q.unsqueeze(3) * length_k.unsqueeze(2))
        return (cosine * temperature).softmax(dim=3)


def windows(side: int, window: int) -> Iterator[slice]:
    """The overlapping windows that cover `side` pixels: as few as can be, evenly stepped, the last at the border."""
    window = min(side, window)
    count = (side - 1) // window + 1
    step = -(-(side - window) // (count - 1)) if count > 1 else window
    for i in range(count):
        start = min(i * step, side - window)
        yield slice(start, start + window)


class FeedForward(nn.Module):
    """1x1 convolution to twice the hidden width, depthwise, gelu(first half) · second half, 1x1 (GDFN, sec. 3.2)."""

    def __init__(self, channels: int, hidden: int, depthwise: nn.Module) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, 2 * hidden, bias=False)
        self.depthwise = depthwise
        self.project = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: Tensor, *kernels: Tensor) -> Tensor:
        """x (B, H, W, C) -> (B, H, W, C); `kernels` goes to an adaptive depthwise convolution."""
        gate, value = self.depthwise(self.expand(x), *kernels).chunk(2, dim=3)  # (B, H, W, hidden) each
        return self.project(F.gelu(gate) * value)


class Block(nn.Module):
    """`x += attention(norm(x)); x += feed_forward(norm(x))`; with task-adaptive depthwise kernels when `adaptive`."""

    def __init__(self, channels: int, heads: int, expansion: float, adaptive: bool, window: int | None) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        if adaptive:
            around = AdaptiveDepthwise(3 * channels, std=1), AdaptiveDepthwise(2 * hidden, std=(2 / 9) ** 0.5)
        else:
            around = Depthwise(3 * channels), Depthwise(2 * hidden)
        self.attention = Attention(channels, heads, around[0], window)
        self.feed_forward = FeedForward(channels, hidden, around[1])

    def forward(self, x: Tensor, kernels: Kernels | None = None) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C); an adaptive block needs its generated kernels."""
        attention_kernels, feed_forward_kernels = ((kernel,) for kernel in kernels) if kernels else ((), ())
        x = x + self.attention(self.norm1(x), *attention_kernels)
        return x + self.feed_forward(self.norm2(x), *feed_forward_kernels)


class Stage(nn.ModuleList):
    """Blocks one after the other; all take the same generated kernels, if any."""

    def forward(self, x: Tensor, kernels: Kernels | None = None) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        for block in self:
            x = block(x, kernels)
        return x


class Down(nn.Module):
    """3x3 convolution to half the channels, then pixel-unshuffle: (B, H, W, C) -> (B, H/2, W/2, 2C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H/2, W/2, 2C)."""
        x = self.conv(x).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, H/2, 2, W/2, 2, C/2)
        return x.permute(0, 1, 3, 5, 2, 4).flatten(3)


class Up(nn.Module):
    """3x3 convolution to twice the channels, then pixel-shuffle: (B, H, W, C) -> (B, 2H, 2W, C/2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels, 2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, 2H, 2W, C/2)."""
        return pixel_shuffle(self.conv(x), 2)


def pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    """`torch.pixel_shuffle` of channels-last maps: (B, H, W, C·f²) -> (B, f·H, f·W, C)."""
    x = x.unflatten(3, (-1, factor, factor))  # (B, H, W, C, f, f)
    return x.permute(0, 1, 4, 2, 5, 3).flatten(3, 4).flatten(1, 2)


class Trunk(nn.Module):
    """The U shape that the three restorers share; what flows through it is written in `residual` of each.

    Parameters
    ----------
    dim: width of level 1; level l has width dim · 2^(l-1) at 1 / 2^(l-1) of the size. Even.
    blocks: how many blocks on levels 1 to 4; the decoder has as many on a level as the encoder.
    refinement: how many blocks follow the decoder, at its width of 2 · dim.
    heads: of attention, on levels 1 to 4.
    expansion: hidden width of the feed-forward nets over their width.
    adaptive: whether latent, decoder and refinement take generated depthwise kernels.
    window: None, or the side above which attention is local, times the number of heads.
    """

    def __init__(
        self,
        dim: int,
        blocks: Sequence[int],
        refinement: int,
        heads: Sequence[int],
        expansion: float,
        adaptive: bool = False,
        window: int | None = None,
    ) -> None:
        super().__init__()

        def stage(count: int, channels: int, level: int, adaptive: bool = adaptive) -> Stage:
            n = heads[level - 1]
            side = window // n if window else None
            return Stage(Block(channels, n, expansion, adaptive, side) for _ in range(count))

        self.embed = Conv(1, dim)
        self.encoder1 = stage(blocks[0], dim, 1, adaptive=False)
        self.down1 = Down(dim)
        self.encoder2 = stage(blocks[1], 2 * dim, 2, adaptive=False)
        self.down2 = Down(2 * dim)
        self.encoder3 = stage(blocks[2], 4 * dim, 3, adaptive=False)
        self.down3 = Down(4 * dim)
        self.latent = stage(blocks[3], 8 * dim, 4)
        self.up3 = Up(8 * dim)
        self.reduce3 = nn.Linear(8 * dim, 4 * dim, bias=False)
        self.decoder3 = stage(blocks[2], 4 * dim, 3)
        self.up2 = Up(4 * dim)
        self.reduce2 = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.decoder2 = stage(blocks[1], 2 * dim, 2)
        self.up1 = Up(2 * dim)
        self.decoder1 = stage(blocks[0], 2 * dim, 1)  # not reduced: 2 · dim
        self.refinement = stage(refinement, 2 * dim, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, 1, H, W), values of about [0, 1]; any H and W from 16 up, any B.

        Sides that are not multiples of 8 are padded by reflection, below and to the right, and cropped after.
        """
        if image.ndim != 4 or image.shape[1] != 1 or min(image.shape[2:]) < SMALLEST_SIDE:
            raise ValueError(f"expected images (B, 1, H, W) of at least {SMALLEST_SIDE} pixels a side, got {tuple(image.shape)}")
        height, width = image.shape[2:]
        padded = F.pad(image, (0, -width % STRIDE, 0, -height % STRIDE), mode="reflect")
        padded = padded.permute(0, 2, 3, 1)  # (B, H, W, 1)
        return (padded + self.residual(padded)).permute(0, 3, 1, 2)[:, :, :height, :width]

    def residual(self, image: Tensor) -> Tensor:
        """What is added to the image: (B, H, W, 1) -> (B, H, W, 1), sides multiples of 8."""
        raise NotImplementedError
