import pytest
import torch
import torch.nn.functional as F

from medley.models.fast._depthwise import mix_depthwise, packed, turned


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_depthwise_kernels_per_sample(dtype):
    x, weight = torch.randn(6, 7, 3, 4, dtype=dtype), torch.randn(10, 4, dtype=dtype)
    kernel = torch.randn(3, 10, 1, 3, 3, dtype=dtype)
    mixed = turned(F.linear(x, weight))
    expected = torch.cat([F.conv2d(mixed[b : b + 1], kernel[b], padding=1, groups=10) for b in range(3)])
    close(turned(mix_depthwise(x, weight, kernel)), expected)
    close(turned(mix_depthwise(x, weight, kernel[0])), F.conv2d(mixed, kernel[0], padding=1, groups=10))


def test_turning_twice_changes_nothing_and_a_packed_map_is_not_copied():
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(turned(turned(x)), x)
    maps = packed(x)
    assert maps.shape == (4, 5, 2, 3)
    assert packed(turned(maps)).data_ptr() == maps.data_ptr()
