import pytest
import torch

from medley.models import cost
from medley.models.zoo import create_model

SMALL = {"width": 4, "expansion": 2, "blocks": (1,), "stem": 2}
TWO = {"organs": ("pixel", 3), "diagnosis": ("image", 2)}


def test_a_small_network_counted_by_hand():
    model = create_model("hps", targets=TWO, **SMALL)
    # Weights of the convolutions, at 8 x 8 after the stem; the map's last two at 16 x 16.
    stem, block = 9 * 1 * 4, 4 * 4 + 9 * 4 * 4 + 4 * 8 + 4 * 8
    narrow, join, answer = 8 * 8, 9 * (8 + 1) * 8, 8 * 3
    linear = 8 * 2
    norms = 2 * (4 + 4 + 4 + 8 + 8 + 8)
    assert cost.parameters(model) == stem + block + narrow + join + answer + 3 + linear + 2 + norms
    assert cost.flops(model, (1, 16, 16)) == 2 * (64 * (stem + block + narrow) + 256 * (join + answer) + linear)


def test_what_attention_to_other_targets_costs():
    two = {"organs": ("pixel", 3), "dose": ("pixel", 1)}
    small = SMALL | {"blocks": (1, 1), "squeeze": 2}
    mtan = create_model("mtan", targets=two, **small)
    ctan = create_model("ctan", targets=two, heads=2, **small)
    # Masks: the other's features, 4 channels to width 4 at 8 x 8, and 4 to width 8 at 4 x 4.
    masks = 64 * 4 * 4 + 16 * 4 * 8
    # Tokens: 16 of 8 channels. Query, key and value, projection; attention's two products; feed-forward.
    products = 16 * (8 * 8 + 2 * 8 * 8 + 8 * 8 + 2 * 4 * 8 * 8)
    attention = 2 * 16 * 16 * 8
    shape = (1, 16, 16)
    assert cost.flops(ctan, shape) - cost.flops(mtan, shape) == 2 * 2 * (masks + products + attention)
    numbers = 4 * 4 + 4 * 8 + (4 + 8) * 8 * 8 + (4 + 4 + 1) * 8 + 2 * 8  # weights, then biases and a norm
    assert cost.parameters(ctan) - cost.parameters(mtan) == 2 * numbers


def test_single_tasks_cost_what_their_networks_cost():
    stl = create_model("stl", targets=TWO, **SMALL)
    alone = [create_model("hps", targets={name: asked}, **SMALL) for name, asked in TWO.items()]
    assert cost.parameters(stl) == sum(map(cost.parameters, alone))
    assert cost.flops(stl, (1, 32, 16)) == sum(cost.flops(one, (1, 32, 16)) for one in alone)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("name", ["stl", "hps", "mtan", "ctan"])
def test_nothing_has_to_be_computed(name, dimension):
    shape = (1, 16, 24, 16)[: dimension + 1]
    config = {"targets": TWO, "dimension": dimension, **SMALL} | ({"heads": 2} if name == "ctan" else {})
    with torch.device("meta"):
        unreal = create_model(name, **config)
    real = create_model(name, **config)
    assert cost.flops(unreal, shape) == cost.flops(real, shape) > 0
    assert cost.parameters(unreal) == cost.parameters(real)


def test_counting_leaves_the_network_as_it_was():
    model = create_model("hps", targets=TWO, **SMALL).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    cost.flops(model, (1, 16, 16))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_restorers_are_counted_too():
    model = create_model("restormer", dim=8, blocks=(1, 1, 1, 1), refinement=1)
    small, large = cost.flops(model, (1, 32, 32)), cost.flops(model, (1, 64, 32))
    assert small < large <= 2 * small  # what is folded into the attention matrices does not grow with the image
