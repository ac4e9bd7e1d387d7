import pytest
import torch
import torch.nn.functional as F

from medley.models.attention import Attention, windows
from medley.models.fast import optimise
from medley.models.layers import DepthwiseConv

FORMS = pytest.mark.parametrize("form", [lambda network: network, optimise], ids=["textbook", "fast"])


def make(channels: int, heads: int, window: int | None = None) -> Attention:
    return Attention(channels, heads, DepthwiseConv(3 * channels), window)


@FORMS
def test_attention_by_its_definition(form):
    """Normalise, multiply, softmax, multiply, project, as the paper of Restormer defines it; sample by sample."""
    channels, heads = 8, 2
    attention = form(make(channels, heads))
    torch.nn.init.uniform_(attention.temperature, 0.5, 2)
    x = torch.randn(2, channels, 5, 6)
    expected = []
    for sample in x:
        mixed = torch.einsum("oc,chw->ohw", attention.qkv.weight, sample)
        q, k, v = F.conv2d(mixed[None], attention.kernel.weight, padding=1, groups=3 * channels)[0].chunk(3)
        outputs = []
        for head in range(heads):
            own = slice(head * channels // heads, (head + 1) * channels // heads)
            rows, columns = (F.normalize(t[own].flatten(1), dim=1) for t in (q, k))
            matrix = (rows @ columns.T * attention.temperature[head]).softmax(dim=1)
            outputs.append(matrix @ v[own].flatten(1))
        expected.append((attention.project.weight @ torch.cat(outputs)).view(channels, 5, 6))
    torch.testing.assert_close(attention(x), torch.stack(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("side", "window", "starts"),
    [(10, 24, [0]), (24, 24, [0]), (25, 24, [0, 1]), (51, 24, [0, 14, 27]), (48, 24, [0, 24]), (49, 24, [0, 13, 25])],
)
def test_windows(side, window, starts):
    found = list(windows(side, window))
    assert [w.start for w in found] == starts
    assert all(w.stop - w.start == min(side, window) for w in found)
    assert found[-1].stop == side


@FORMS
def test_local_attention_is_the_mean_of_its_windows(form):
    whole, local = form(make(4, 1)), form(make(4, 1, window=6))
    torch.nn.init.dirac_(local.kernel.weight, groups=12)  # no neighbours: each window can be computed separately
    whole.load_state_dict(local.state_dict())
    x = torch.randn(2, 4, 6, 9)
    left, right = whole(x[..., :6]), whole(x[..., 3:])
    expected = torch.cat([left[..., :3], (left[..., 3:] + right[..., :3]) / 2, right[..., 3:]], dim=3)
    torch.testing.assert_close(local(x), expected, rtol=1e-4, atol=1e-5)


@FORMS
def test_local_attention_is_global_on_maps_up_to_the_window(form):
    whole, local = form(make(4, 1)), form(make(4, 1, window=8))
    local.load_state_dict(whole.state_dict())
    x = torch.randn(1, 4, 8, 5)
    torch.testing.assert_close(local(x), whole(x))
