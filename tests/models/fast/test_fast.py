"""The fast form of every network equals the textbook form: outputs, gradients, random numbers."""

import pytest
import torch
from torch import Tensor

from medley.models.blocks import Trunk
from medley.models.fast import FORMS, optimise, textbook
from medley.models.zoo import create_model

SMALL = {"dim": 8, "blocks": (1, 2, 1, 1), "refinement": 1}
NETWORKS = {"restormer": {}, "tat": {"generator_width": 4, "window": 24}, "amir": {}}
SIZES = [(16, 16), (24, 40), (41, 50), (64, 33)]  # of some, TAT's maps are larger than its windows on every level


@pytest.fixture(params=NETWORKS)
def network(request) -> Trunk:
    """A small network in which every part has an effect: parameters that are initially zero are changed."""
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
        fast, slow = (one(image) - image for one in (model, textbook(model)))
    assert difference(fast, slow) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-11)], ids=str)
@pytest.mark.parametrize("size", SIZES[1:3], ids=str)
def test_gradients(network, size, dtype, tolerance):
    model, image = network.to(dtype).train(), images(2, 1, *size, dtype=dtype).requires_grad_()
    fast, slow = gradients(model, image), gradients(textbook(model), image)
    assert fast.keys() == slow.keys() >= dict(model.named_parameters()).keys()
    for key, gradient in slow.items():
        assert difference(fast[key], gradient) < tolerance, key


@pytest.mark.parametrize("size", SIZES[1:], ids=str)
def test_bfloat16(network, size):
    """Both round, at different places: they differ no more from each other than from the exact result."""
    image = images(2, 1, *size)
    with torch.inference_mode():
        exact = network(image) - image
        with torch.autocast("cpu", torch.bfloat16):
            fast, slow = (one(image).float() - image for one in (network, textbook(network)))
    assert difference(fast, exact) < 0.05
    assert difference(slow, exact) < 0.05
    assert difference(fast, slow) < 0.05


def test_the_swap_is_complete_both_ways(network):
    fast, plain = {type(part) for part in network.modules()}, {type(part) for part in textbook(network).modules()}
    assert fast & set(FORMS.values())
    assert not fast & set(FORMS)
    assert not plain & set(FORMS.values())
    assert {type(part) for part in optimise(textbook(network)).modules()} == fast


def test_other_networks_are_left_unchanged():
    model = create_model("hps", targets={"diagnosis": ("image", 3)}, width=4, blocks=(1,), stem=2)
    kinds = [type(part) for part in model.modules()]
    assert [type(part) for part in optimise(model).modules()] == kinds


@pytest.mark.parametrize("shape", [(1, 1, 24, 40), (3, 1, 24, 40)], ids=str)
def test_between_fast_layers_the_memory_keeps_its_order(network, shape):
    """(H, W, B, C); a layer that loses it makes every later one copy its input."""
    lost = []

    def check(module, inputs, output):
        for one in (*inputs[:1], output[0] if isinstance(output, tuple) else output):
            if one.ndim == 4 and one.shape[1] > 1 and not one.permute(2, 3, 0, 1).is_contiguous():
                lost.append(type(module).__name__)

    for name, module in network.named_modules():
        if type(module) in FORMS.values() and "generator" not in name:
            module.register_forward_hook(check)
    with torch.inference_mode():
        network(images(*shape))
    assert lost == []


def test_the_input_of_a_network_is_never_overwritten(network):
    image = images(2, 1, 32, 32)
    before = image.clone()
    with torch.inference_mode():
        network(image)
    assert torch.equal(image, before)


def test_the_textbook_form_has_the_same_weights(network):
    twin = textbook(network)
    assert [id(p) for p in twin.parameters()] == [id(p) for p in network.parameters()]
    assert twin.state_dict().keys() == network.state_dict().keys()


def gradients(model: Trunk, image: Tensor) -> dict[str, Tensor]:
    """Of a loss with a different weight for every pixel, with respect to the parameters and the image."""
    torch.manual_seed(2)  # noise of the routers
    loss = (model(image) * images(*image.shape, dtype=image.dtype)).mean()
    auxiliary = getattr(model, "auxiliary_loss", None)
    names, tensors = zip(*model.named_parameters(), ("image", image), strict=True)
    found = torch.autograd.grad(loss if auxiliary is None else loss + auxiliary, tensors)
    return dict(zip(names, found, strict=True))
