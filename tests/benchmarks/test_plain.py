"""The fast form of every network equals the plain one: outputs, gradients, random numbers."""

import pytest
import torch
from benchmarks.plain import PLAIN, plain
from torch import Tensor

from medley.models.blocks import Trunk
from medley.models.zoo import create_model

SMALL = {"dim": 8, "blocks": (1, 2, 1, 1), "refinement": 1}
NETWORKS = {"restormer": {}, "tat": {"generator_width": 4, "window": 24}, "amir": {}}
SIZES = [(16, 16), (24, 40), (41, 50), (64, 33)]  # of some, TAT's maps are larger than its windows on every level


@pytest.fixture(params=NETWORKS)
def network(request) -> Trunk:
    """A small network whose every part does something: what starts at zero is moved away from it."""
    torch.manual_seed(0)
    model = create_model(request.param, **SMALL, **NETWORKS[request.param])
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith(("strength", "gamma", "beta", "noise", "temperature", "bias")):
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Relative, in the 2-norm."""
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_output(network, size, dtype, tolerance):
    image = images(2, 1, *size, dtype=dtype)
    model = network.to(dtype)
    with torch.inference_mode():
        fast, slow = (one(image) - image for one in (model, plain(model)))
    assert difference(fast, slow) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-11)], ids=str)
@pytest.mark.parametrize("size", SIZES[1:3], ids=str)
def test_gradients(network, size, dtype, tolerance):
    model, image = network.to(dtype).train(), images(2, 1, *size, dtype=dtype).requires_grad_()
    fast, slow = gradients(model, image), gradients(plain(model), image)
    assert fast.keys() == slow.keys() >= dict(model.named_parameters()).keys()
    for key, gradient in slow.items():
        assert difference(fast[key], gradient) < tolerance, key


@pytest.mark.parametrize("size", SIZES[1:], ids=str)
def test_bfloat16(network, size):
    """Both round, at other places: neither is further from the other than from the truth."""
    image = images(2, 1, *size)
    with torch.inference_mode():
        exact = network(image) - image
        with torch.autocast("cpu", torch.bfloat16):
            fast, slow = (one(image).float() - image for one in (network, plain(network)))
    assert difference(fast, exact) < 0.05
    assert difference(slow, exact) < 0.05
    assert difference(fast, slow) < 0.05


def test_nothing_fast_is_left_in_a_plain_network(network):
    fast = {type(part) for part in network.modules()}
    left = {type(part) for part in plain(network).modules()} & set(PLAIN)
    assert fast & set(PLAIN)
    assert left == set()


def test_a_plain_network_has_the_same_weights(network):
    twin = plain(network)
    assert [id(p) for p in twin.parameters()] == [id(p) for p in network.parameters()]
    assert twin.state_dict().keys() == network.state_dict().keys()


def gradients(model: Trunk, image: Tensor) -> dict[str, Tensor]:
    """Of a loss that asks something else of every pixel, by the parameters and the image."""
    torch.manual_seed(2)  # the routers' noise
    loss = (model(image) * images(*image.shape, dtype=image.dtype)).mean()
    auxiliary = getattr(model, "auxiliary_loss", None)
    names, tensors = zip(*model.named_parameters(), ("image", image), strict=True)
    found = torch.autograd.grad(loss if auxiliary is None else loss + auxiliary, tensors)
    return dict(zip(names, found, strict=True))
