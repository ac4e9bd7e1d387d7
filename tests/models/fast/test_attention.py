import pytest
import torch
import torch.nn.functional as F

from medley.models.attention import Attention, windows
from medley.models.fast import optimise, textbook
from medley.models.fast._attention import FastAttention, attention_matrix, cells
from medley.models.layers import DepthwiseConv


def fast_attention(channels: int, heads: int, window: int | None = None) -> FastAttention:
    attention = optimise(Attention(channels, heads, DepthwiseConv(3 * channels), window))
    torch.nn.init.uniform_(attention.temperature, 0.5, 2)
    return attention


def test_attention_is_not_changed_by_the_scale_of_queries_and_keys():
    attention, (q, k) = fast_attention(8, 4), torch.randn(2, 8, 5, 2, 8)
    first, second = (
        attention_matrix(*attention.correlate(*pair), attention.temperature) for pair in ((7 * q, 0.1 * k), (q, k))
    )
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_the_matrix_stays_in_float32_under_autocast():
    attention, (q, k) = fast_attention(8, 2), torch.randn(2, 8, 5, 1, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        matrix = attention_matrix(*attention.correlate(q, k), attention.temperature)
    assert matrix.dtype == torch.float32
    torch.testing.assert_close(matrix.sum(-1), torch.ones(1, 2, 4))


@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize(("height", "width"), [(9, 20), (21, 5), (19, 17), (6, 6)])
def test_it_equals_the_textbook_in_value_and_gradient(height, width, window):
    fast = fast_attention(8, 2, window).double()
    x = torch.randn(2, 8, height, width, dtype=torch.float64, requires_grad=True)
    weight = torch.randn_like(x)
    outputs = [one(x) for one in (fast, textbook(fast))]
    torch.testing.assert_close(*outputs)
    gradients = [torch.autograd.grad((one * weight).sum(), [x, *fast.parameters()]) for one in outputs]
    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("most", [None, 3])
@pytest.mark.parametrize(("side", "window"), [(10, 24), (51, 24), (48, 24), (7, 2)])
def test_cells_cover_the_side_and_every_window(side, window, most):
    lengths, held = cells(side, window, most)
    assert sum(lengths) == side
    assert max(lengths) <= (most or side)
    assert (held @ torch.tensor(lengths, dtype=torch.float32)).tolist() == [
        span.stop - span.start for span in windows(side, window)
    ]


def test_many_windows_are_many_rows_of_the_same_matrix():
    _, held = cells(12, 4)
    assert F.one_hot(torch.arange(3), 3).float().tolist() == held.tolist()
