import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medley.models.attention import Attention, attention_matrix, windows
from medley.models.depthwise import Kernel, mix_depthwise


def channels_first(x: Tensor) -> Tensor:
    """(H, W, B, C) -> (B, C, H, W)."""
    return x.permute(2, 3, 0, 1)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


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
    attention, (q, k) = Attention(8, 4, Kernel(24)), torch.randn(2, 8, 5, 2, 8)
    matrices = [
        attention_matrix(*attention._correlate(*pair), attention.temperature) for pair in ((7 * q, 0.1 * k), (q, k))
    ]
    close(*matrices)


def test_attention_matrix_stays_in_float32_under_autocast():
    attention, (q, k) = Attention(8, 2, Kernel(24)), torch.randn(2, 8, 5, 1, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        matrix = attention_matrix(*attention._correlate(q, k), attention.temperature)
    assert matrix.dtype == torch.float32
    torch.testing.assert_close(matrix.sum(-1), torch.ones(1, 2, 4))


@pytest.mark.parametrize(
    ("side", "window", "starts"),
    [(10, 24, [0]), (24, 24, [0]), (25, 24, [0, 1]), (51, 24, [0, 14, 27]), (48, 24, [0, 24]), (49, 24, [0, 13, 25])],
)
def test_windows(side, window, starts):
    found = list(windows(side, window))
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


@pytest.mark.parametrize(("height", "width"), [(9, 20), (21, 5), (19, 17)])
def test_local_attention_of_any_size_is_the_mean_of_its_windows(height, width):
    """In value and gradient, window by window as test-time local conversion does it."""
    local = Attention(8, 2, Kernel(24), window=6).double()
    torch.nn.init.uniform_(local.temperature, 0.5, 2)
    x = torch.randn(height, width, 2, 8, dtype=torch.float64, requires_grad=True)
    parts = zip(local.qkv.weight.chunk(3), local.kernel().chunk(3), strict=True)
    qkv = [mix_depthwise(x, weight, kernel) for weight, kernel in parts]
    total, times = torch.zeros_like(x), torch.zeros(height, width, 1, 1)
    for rows in windows(height, 6):
        for columns in windows(width, 6):
            q, k, v = (t[rows, columns] for t in qkv)
            answer = local._mix(v, attention_matrix(*local._correlate(q, k), local.temperature))
            total = total.index_put(torch.meshgrid(*indices(rows, columns), indexing="ij"), answer, accumulate=True)
            times[rows, columns] += 1
    expected = total / times
    torch.testing.assert_close(local(x), expected)
    weight = torch.randn_like(x)
    for got, wanted in zip(gradients(local(x), weight, local, x), gradients(expected, weight, local, x), strict=True):
        torch.testing.assert_close(got, wanted)


def indices(*spans: slice) -> tuple[Tensor, ...]:
    return tuple(torch.arange(span.start, span.stop) for span in spans)


def gradients(answer: Tensor, weight: Tensor, module: Attention, x: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad((answer * weight).sum(), [x, *module.parameters()], retain_graph=True)


def test_local_attention_is_global_on_maps_up_to_the_window():
    whole, local = Attention(4, 1, Kernel(12)), Attention(4, 1, Kernel(12), window=8)
    local.load_state_dict(whole.state_dict())
    x = torch.randn(8, 5, 1, 4)
    torch.testing.assert_close(local(x), whole(x))
