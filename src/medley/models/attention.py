"""Attention across channels, over all pixels or within overlapping windows.

Maps are (H, W, B, C), see `medley.models.blocks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, islice, pairwise

import torch
from torch import Tensor, nn

from medley.models.depthwise import joined, mix_depthwise, pieces, rows_at_once, strips
from medley.models.gradients import Correlation


class Attention(nn.Module):
    """Attention across channels: which channel looks like which, over all pixels (MDTA, Restormer sec. 3.1).

    Parameters
    ----------
    channels, heads: the channels are dealt out to the heads in turn, channels / heads to each.
    kernel: of the depthwise convolution that follows the 1x1 convolution to q, k and v.
    window: None, or the side in pixels above which attention is local (test-time local conversion): the map is cut
        into overlapping windows of this side, each has its own attention, and results are averaged where they overlap.
    """

    def __init__(self, channels: int, heads: int, kernel: nn.Module, window: int | None = None) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.kernel = kernel
        self.project = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor, *generated: Tensor) -> Tensor:
        """x (H, W, B, C) -> (H, W, B, C); `generated` kernels go to an `AdaptiveKernel`."""
        return joined(self.strips(x, *generated), len(x))

    def strips(self, x: Tensor, *generated: Tensor) -> Iterator[Tensor]:
        """The answer strip by strip, from above."""
        # The borders of all windows, and of the strips that are taken at once, cut the map into cells. What attention
        # sums over the pixels of a window is the sum of its cells', and since attention is linear in v, the mean of the
        # windows' answers is the answer of their mean: every pixel is touched once, however many windows hold it.
        height, width, _, channels = x.shape
        rows, in_rows = cells(height, self.window or height, rows_at_once(x, channels))
        columns, in_columns = cells(width, self.window or width)
        # Three products, not one: what is cut apart afterwards has to be put together again in the backward pass.
        parts = list(zip(self.qkv.weight.chunk(3), self.kernel(*generated).chunk(3, dim=-4), strict=True))
        found, v_cells = [], []
        for strip, kept in strips(x, rows):
            q, k, v = (mix_depthwise(strip, *part)[kept].split(columns, 1) for part in parts)
            found += [self._correlate(*pair) for pair in zip(q, k, strict=True)]
            v_cells += v
        held = torch.kron(in_rows, in_columns).to(found[0][0])  # (windows, cells), 1 where a window holds a cell
        products, squares_q, squares_k = (
            torch.einsum("wc,c...->w...", held, torch.stack(part)) for part in zip(*found, strict=True)
        )
        matrices = attention_matrix(products, squares_q, squares_k, self.temperature)  # (windows, B, heads, ...)
        means = torch.einsum("wc,w...->c...", held / held.sum(0), matrices)
        pairs = zip(_taken(v_cells), means.unbind(), strict=True)
        for _ in rows:
            yield _beside([self._mix(*pair) for pair in islice(pairs, len(columns))])

    def _correlate(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sums over all pixels of q_i · k_j (B, heads, C/heads, C/heads), q_i² and k_j² (B, heads, C/heads).

        q and k (H, W, B, C). At least in float32: they are sums over tens of thousands of pixels.
        """
        with torch.autocast(q.device.type, enabled=False):
            # One product of all channels with all, then the blocks of the heads: large products run faster than many.
            products, *squares = Correlation.apply(q.flatten(0, 1), k.flatten(0, 1))  # (B, C, C), (B, C), (B, C)
        products = products.unflatten(2, (self.heads, -1)).unflatten(1, (self.heads, -1))
        products = products.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
        squares_q, squares_k = (one.unflatten(1, (self.heads, -1)) for one in squares)
        return products, squares_q, squares_k

    def _mix(self, v: Tensor, matrix: Tensor) -> Tensor:
        """v (H, W, B, C), matrix (B, heads, C/heads, C/heads) -> (H, W, B, C): the projection of matrix · v."""
        # Attention and the projection are both linear in v: fold the two small matrices, then touch the pixels once.
        project = self.project.weight.unflatten(1, (self.heads, -1))  # (C, heads, C/heads)
        folded = torch.einsum("ohc,bhcd->bhdo", project, matrix.to(project.dtype)).flatten(1, 2)  # (B, C, C)
        pixels = v.flatten(0, 1).transpose(0, 1)  # (B, N, C)
        return torch.bmm(pixels, folded.to(v.dtype)).transpose(0, 1).unflatten(0, v.shape[:2])


def _beside(cells: list[Tensor]) -> Tensor:
    return torch.cat(cells, 1) if len(cells) > 1 else cells[0]


def _taken(items: list[Tensor]) -> Iterator[Tensor]:
    """The items in order; the list lets go of each."""
    items.reverse()
    while items:
        yield items.pop()


def attention_matrix(products: Tensor, squares_q: Tensor, squares_k: Tensor, temperature: Tensor) -> Tensor:
    """softmax(cosine(q_i, k_j) · temperature) for the channels i and j of each head, from sums over pixels.

    products (..., heads, C/heads, C/heads), squares (..., heads, C/heads), temperature (heads, 1, 1) -> as products.
    Since the cosine is taken of the sums, q and k themselves need not be normalised.
    """
    with torch.autocast(products.device.type, enabled=False):
        # Clamped before the root, or the gradient of a blank image would not be finite.
        length_q, length_k = (squares.clamp_min(1e-24).sqrt() for squares in (squares_q, squares_k))
        cosine = products / (length_q.unsqueeze(-1) * length_k.unsqueeze(-2))
        return (cosine * temperature).softmax(dim=-1)


def windows(side: int, window: int) -> Iterator[slice]:
    """The overlapping windows that cover `side` pixels: as few as can be, evenly stepped, the last at the border."""
    window = min(side, window)
    count = (side - 1) // window + 1
    step = -(-(side - window) // (count - 1)) if count > 1 else window
    for i in range(count):
        start = min(i * step, side - window)
        yield slice(start, start + window)


def cells(side: int, window: int, most: int | None = None) -> tuple[list[int], Tensor]:
    """The pieces into which the borders of all `windows` cut a side, and again where they exceed `most` pixels.

    Returns
    -------
    Their lengths in pixels, in order, and which window holds which: (windows, cells), 1 or 0, float32.
    """
    spans = list(windows(side, window))
    borders = sorted({border for span in spans for border in (span.start, span.stop)})
    lengths = [length for start, stop in pairwise(borders) for length in pieces(stop - start, most or side)]
    starts = list(accumulate(lengths, initial=0))[:-1]
    held = [[float(span.start <= start < span.stop) for start in starts] for span in spans]
    return lengths, torch.tensor(held)
