"""The layers compute what they are named after, in both forms; a map is (B, C, H, W) in both."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medley.models.fast import FORMS, optimise, textbook
from medley.models.layers import AdaptiveDepthwiseConv, ChannelNorm, Conv, DepthwiseConv, Down, PointwiseConv, Up


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", [textbook, lambda network: optimise(_alone(network))], ids=["textbook", "fast"])
def test_convolutions(form):
    x = torch.randn(2, 8, 6, 4)
    conv, pointwise, down, up = form(Conv(8, 5, bias=True)), form(PointwiseConv(8, 5)), form(Down(8)), form(Up(8))
    close(conv(x), F.conv2d(x, conv.weight, conv.bias, padding=1))
    close(pointwise(x), F.conv2d(x, pointwise.weight[:, :, None, None], pointwise.bias))
    close(down(x), F.pixel_unshuffle(down.conv(x), 2))
    close(up(x), F.pixel_shuffle(up.conv(x), 2))
    assert down(x).shape == (2, 16, 3, 2)
    assert up(x).shape == (2, 4, 12, 8)


def _alone(network):
    module = copy.deepcopy(network)
    assert any(type(one) in FORMS for one in module.modules())
    return module


def test_norm_is_over_the_channels_of_every_pixel():
    x = 3 + 2 * torch.randn(2, 16, 5, 7)
    normalised = ChannelNorm(16)(x)
    close(normalised.mean(dim=1), torch.zeros(2, 5, 7))
    close(normalised.var(dim=1, correction=0), torch.ones(2, 5, 7))


def test_depthwise_has_one_kernel_for_each_channel():
    conv, x = DepthwiseConv(3), torch.randn(2, 3, 5, 7)
    assert set(conv.state_dict()) == {"weight"}
    expected = [F.conv2d(x[:, c : c + 1], conv.weight[c : c + 1], padding=1) for c in range(3)]
    close(conv(x), torch.cat(expected, dim=1))


def test_adaptive_depthwise_has_kernels_for_each_sample():
    conv, x, generated = AdaptiveDepthwiseConv(4, std=1), torch.randn(3, 4, 6, 7), torch.randn(3, 4, 1, 3, 3)
    close(conv(x, generated), F.conv2d(x, conv.weight, padding=1, groups=4))  # the initial strength is 0
    torch.nn.init.constant_(conv.strength, 2)
    kernels = conv.weight + 2 * generated
    expected = torch.cat([F.conv2d(x[b : b + 1], kernels[b], padding=1, groups=4) for b in range(3)])
    close(conv(x, generated), expected)
