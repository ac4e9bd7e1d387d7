import torch
import torch.nn.functional as F
from torch import Tensor

from medley.models.blocks import Conv, Down, Up


def channels_first(x: Tensor) -> Tensor:
    """(H, W, B, C) -> (B, C, H, W)."""
    return x.permute(2, 3, 0, 1)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_conv_is_a_convolution():
    conv, x = Conv(3, 5, bias=True), torch.randn(6, 7, 2, 3)
    close(channels_first(conv(x)), F.conv2d(channels_first(x), conv.weight, conv.bias, padding=1))


def test_down_and_up_are_convolution_and_pixel_shuffle():
    x = torch.randn(4, 6, 2, 8)
    down, up = Down(8), Up(8)
    close(channels_first(down(x)), F.pixel_unshuffle(channels_first(down.conv(x)), 2))
    close(channels_first(up(x)), F.pixel_shuffle(channels_first(up.conv(x)), 2))
    assert down(x).shape == (2, 3, 2, 16)
    assert up(x).shape == (8, 12, 2, 4)
