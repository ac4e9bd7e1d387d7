import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medley.models import blocks
from medley.models.blocks import AdaptiveKernel, Attention, Conv, Down, Kernel, Up, attention_matrix, mix_depthwise


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def channels_first(x: Tensor) -> Tensor:
    """(H, W, B, C) -> (B, C, H, W)."""
    return x.permute(2, 3, 0, 1)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_conv_is_a_convolution():
    conv, x = Conv(3, 5, bias=True), torch.randn(6, 7, 2, 3)
    close(channels_first(conv(x)), F.conv2d(channels_first(x), conv.weight, conv.bias, padding=1))


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


def test_attention_by_its_definition():
    """Normalise, multiply, softmax, multiply, project: as Restormer's paper writes it."""
    height, width, batch, channels, heads = 5, 6, 2, 8, 2
    attention = Attention(channels, heads, Kernel(3 * channels))
    torch.nn.init.uniform_(attention.temperature, 0.5, 2)
    x = torch.randn(height, width, batch, channels)
    qkv = channels_first(mix_depthwise(x, attention.qkv.weight, attention.kernel()))
    q, k, v = qkv.reshape(batch, 3, heads, channels // heads, -1).unbind(1)  # (B, heads, C/heads, N) each
    matrix = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(2, 3) * attention.temperature
    expected = (matrix.softmax(-1) @ v).reshape(batch, channels, height, width)
    expected = F.conv2d(expected, attention.project.weight[:, :, None, None])
    close(channels_first(attention(x)), expected)


def test_attention_is_not_changed_by_the_scale_of_queries_and_keys():
    q, k = torch.randn(2, 40, 8), torch.randn(2, 40, 8)
    temperature = torch.ones(4, 1, 1)
    close(attention_matrix(7 * q, 0.1 * k, temperature), attention_matrix(q, k, temperature))


def test_attention_matrix_stays_in_float32_under_autocast():
    q, k = torch.randn(1, 40, 8).bfloat16(), torch.randn(1, 40, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        matrix = attention_matrix(q, k, torch.ones(2, 1, 1))
    assert matrix.dtype == torch.float32
    torch.testing.assert_close(matrix.sum(-1), torch.ones(1, 2, 4))


@pytest.mark.parametrize(
    ("side", "window", "starts"),
    [(10, 24, [0]), (24, 24, [0]), (25, 24, [0, 1]), (51, 24, [0, 14, 27]), (48, 24, [0, 24]), (49, 24, [0, 13, 25])],
)
def test_windows(side, window, starts):
    found = list(blocks.windows(side, window))
    assert [w.start for w in found] == starts
    assert all(w.stop - w.start == min(side, window) for w in found)
    assert found[-1].stop == side


def test_local_attention_is_the_mean_of_its_windows():
    whole = Attention(4, 1, Kernel(12))
    local = Attention(4, 1, Kernel(12), window=6)
    local.load_state_dict(whole.state_dict())
    torch.nn.init.dirac_(local.kernel.weight, groups=12)  # no neighbours: a window can be computed by itself
    whole.load_state_dict(local.state_dict())
    x = torch.randn(6, 9, 2, 4)
    left, right = whole(x[:, :6]), whole(x[:, 3:])
    expected = torch.cat([left[:, :3], (left[:, 3:] + right[:, :3]) / 2, right[:, 3:]], dim=1)
    close(local(x), expected)


def test_local_attention_is_global_on_maps_up_to_the_window():
    whole, local = Attention(4, 1, Kernel(12)), Attention(4, 1, Kernel(12), window=8)
    local.load_state_dict(whole.state_dict())
    x = torch.randn(8, 5, 1, 4)
    torch.testing.assert_close(local(x), whole(x))


def test_down_and_up_are_convolution_and_pixel_shuffle():
    x = torch.randn(4, 6, 2, 8)
    down, up = Down(8), Up(8)
    close(channels_first(down(x)), F.pixel_unshuffle(channels_first(down.conv(x)), 2))
    close(channels_first(up(x)), F.pixel_shuffle(channels_first(up.conv(x)), 2))
    assert down(x).shape == (2, 3, 2, 16)
    assert up(x).shape == (8, 12, 2, 4)
