"""The fast form of attention: local attention by cells, and strips. Maps are (H, W, B, C), see `medley.models.fast`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, islice, pairwise
from typing import cast

import torch
from torch import Tensor

from medley.models.attention import Attention, windows
from medley.models.fast._depthwise import mix_depthwise, packed, turned
from medley.models.fast._gradients import Correlation
from medley.models.fast._strips import joined, pieces, rows_at_once, strips
from medley.models.layers import AdaptiveDepthwiseConv, DepthwiseConv


class FastAttention(Attention):
    """`Attention`, where every pixel is processed once, however many windows contain it."""

    def forward(self, x: Tensor, *generated: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W)."""
        maps = packed(x)
        return turned(joined(self.strips(maps, *generated), len(maps)))

    def strips(self, x: Tensor, *generated: Tensor) -> Iterator[Tensor]:
        """The output of x (H, W, B, C), strip by strip from the top."""
        # The borders of all windows, and of the strips, cut the map into cells. A sum over the pixels of a window is
        # the sum over its cells, and since attention is linear in v, the mean of the windows' outputs at a pixel is the
        # output for the mean of their attention matrices.
        height, width, _, channels = x.shape
        rows, in_rows = cells(height, self.window or height, rows_at_once(x, channels))
        columns, in_columns = cells(width, self.window or width)
        kernels = cast(DepthwiseConv | AdaptiveDepthwiseConv, self.kernel).kernels(*generated)
        # Three products, not one: the backward pass would have to concatenate what is split after a single one.
        parts = list(zip(self.qkv.weight.chunk(3), kernels.chunk(3, dim=-4), strict=True))
        sums, v_cells = [], []
        for strip, kept in strips(x, rows):
            q, k, v = (mix_depthwise(strip, *part)[kept].split(columns, 1) for part in parts)
            sums += [self.correlate(*pair) for pair in zip(q, k, strict=True)]
            v_cells += v
        held = torch.kron(in_rows, in_columns).to(sums[0][0])  # (windows, cells), 1 where a window contains a cell
        products, squares_q, squares_k = (
            torch.einsum("wc,c...->w...", held, torch.stack(part)) for part in zip(*sums, strict=True)
        )
        matrices = attention_matrix(products, squares_q, squares_k, self.temperature)  # (windows, B, heads, ...)
        means = torch.einsum("wc,w...->c...", held / held.sum(0), matrices)
        pairs = zip(_taken(v_cells), means.unbind(), strict=True)
        for _ in rows:
            outputs = [self.mix(*pair) for pair in islice(pairs, len(columns))]
            yield torch.cat(outputs, 1) if len(outputs) > 1 else outputs[0]

    def correlate(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sums over all pixels of q_i · k_j (B, heads, C/heads, C/heads), q_i² and k_j² (B, heads, C/heads).

        q and k (H, W, B, C). In float32 or better: they are sums over tens of thousands of pixels.
        """
        with torch.autocast(q.device.type, enabled=False):
            # One product of all channels, then the blocks of the heads: one large product is faster than several.
            products, *squares = Correlation.apply(q.flatten(0, 1), k.flatten(0, 1))  # (B, C, C), (B, C), (B, C)
        products = products.unflatten(2, (self.heads, -1)).unflatten(1, (self.heads, -1))
        products = products.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
        squares_q, squares_k = (one.unflatten(1, (self.heads, -1)) for one in squares)
        return products, squares_q, squares_k

    def mix(self, v: Tensor, matrix: Tensor) -> Tensor:
        """v (H, W, B, C), matrix (B, heads, C/heads, C/heads) -> (H, W, B, C): the projection of matrix · v."""
        # Attention and projection are both linear in v: multiply the two small matrices, then apply them at once.
        project = self.project.weight.unflatten(1, (self.heads, -1))  # (C, heads, C/heads)
        folded = torch.einsum("ohc,bhcd->bhdo", project, matrix.to(project.dtype)).flatten(1, 2)  # (B, C, C)
        pixels = v.flatten(0, 1).transpose(0, 1)  # (B, N, C)
        return torch.bmm(pixels, folded.to(v.dtype)).transpose(0, 1).unflatten(0, v.shape[:2])


def _taken(items: list[Tensor]) -> Iterator[Tensor]:
    """The items in order; each is removed from the list, so that its memory can be freed."""
    items.reverse()
    while items:
        yield items.pop()


def attention_matrix(products: Tensor, squares_q: Tensor, squares_k: Tensor, temperature: Tensor) -> Tensor:
    """softmax(cosine(q_i, k_j) · temperature) for the channels i and j of each head, from sums over pixels.

    products (..., heads, C/heads, C/heads), squares (..., heads, C/heads), temperature (heads, 1, 1) -> as products.
    The cosine is computed from the sums, so q and k themselves need not be normalised.
    """
    with torch.autocast(products.device.type, enabled=False):
        # Clamped before the root, or the gradient of a blank image would not be finite.
        length_q, length_k = (squares.clamp_min(1e-24).sqrt() for squares in (squares_q, squares_k))
        cosine = products / (length_q.unsqueeze(-1) * length_k.unsqueeze(-2))
        return (cosine * temperature).softmax(dim=-1)


def cells(side: int, window: int, most: int | None = None) -> tuple[list[int], Tensor]:
    """The pieces into which the borders of all `windows` cut a side; none is longer than `most` pixels.

    Returns
    -------
    Their lengths in pixels, in order, and which window contains which: (windows, cells), 1 or 0, float32.
    """
    spans = list(windows(side, window))
    borders = sorted({border for span in spans for border in (span.start, span.stop)})
    lengths = [length for start, stop in pairwise(borders) for length in pieces(stop - start, most or side)]
    starts = list(accumulate(lengths, initial=0))[:-1]
    held = [[float(span.start <= start < span.stop) for start in starts] for span in spans]
    return lengths, torch.tensor(held)
