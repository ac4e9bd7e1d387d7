import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medley.models.depthwise import AdaptiveKernel, joined, mix_depthwise, pieces, rows_at_once, strips


def channels_first(x: Tensor) -> Tensor:
    """(H, W, B, C) -> (B, C, H, W)."""
    return x.permute(2, 3, 0, 1)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_depthwise_kernels_per_sample(dtype):
    x, weight = torch.randn(6, 7, 3, 4, dtype=dtype), torch.randn(10, 4, dtype=dtype)
    kernel = torch.randn(3, 10, 1, 3, 3, dtype=dtype)
    mixed = channels_first(F.linear(x, weight))
    expected = torch.cat([F.conv2d(mixed[b : b + 1], kernel[b], padding=1, groups=10) for b in range(3)])
    close(channels_first(mix_depthwise(x, weight, kernel)), expected)
    close(channels_first(mix_depthwise(x, weight, kernel[0])), F.conv2d(mixed, kernel[0], padding=1, groups=10))


def test_adaptive_kernel_starts_as_a_shared_one():
    kernel = AdaptiveKernel(4, std=1)
    generated = torch.randn(3, 4, 1, 3, 3)
    torch.testing.assert_close(kernel(generated), kernel.weight.expand(3, 4, 1, 3, 3))
    torch.nn.init.constant_(kernel.strength, 2)
    torch.testing.assert_close(kernel(generated) - kernel.weight, 2 * generated)


@pytest.mark.parametrize("rows", [[9], [4, 5], [1, 1, 3, 4]])
def test_strips_put_together_are_the_map(rows):
    x, weight, kernel = torch.randn(9, 7, 2, 4), torch.randn(6, 4), torch.randn(2, 6, 1, 3, 3)
    whole = mix_depthwise(x, weight, kernel)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            close(joined((mix_depthwise(strip, weight, kernel)[kept] for strip, kept in strips(x, rows)), 9), whole)


@pytest.mark.parametrize(("length", "most"), [(10, 10), (10, 3), (7, 20), (5, 1)])
def test_pieces_are_few_and_alike(length, most):
    found = pieces(length, most)
    assert sum(found) == length
    assert len(found) == -(-length // most)
    assert max(found) <= most
    assert max(found) - min(found) <= 1


def test_all_rows_at_once_where_a_gradient_is_asked():
    x = torch.empty(4000, 100, 1, 16)
    assert rows_at_once(x, 256) == 4000
    with torch.no_grad():
        assert 8 <= rows_at_once(x, 256) < 4000
