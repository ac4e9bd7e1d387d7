import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medley.models.depthwise import AdaptiveKernel, mix_depthwise


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
