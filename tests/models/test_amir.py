import pytest
import torch
import torch.nn.functional as F

from medley.errors import MedleyError
from medley.models.amir import AMIR, ChannelRouter, SpatialRouter
from medley.models.fast import optimise
from medley.models.zoo import create_model


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


FORMS = pytest.mark.parametrize("form", [lambda network: network, optimise], ids=["textbook", "fast"])


def router(**changes: int) -> SpatialRouter:
    return SpatialRouter(**({"channels": 6, "width": 5, "expansion": 2.0, "experts": 4, "active": 2} | changes))


@FORMS
def test_spatial_routing_by_its_definition(form):
    """Pixel by pixel: the two largest logits, their softmax, the logarithm of the weighted sum of exponentials."""
    model = form(router()).eval()
    x, code = torch.randn(2, 6, 3, 4), torch.randn(2, 5)
    routed, imbalance = model(x, code)
    instruction = model.instruct(code)  # (B, C)
    for b, row, column in [(b, i, j) for b in range(2) for i in range(3) for j in range(4)]:
        pixel = x[b, :, row, column]
        logits = torch.cat([pixel, instruction[b]]) @ model.gate
        best = logits.topk(2)
        gates = best.values.softmax(dim=0)
        total = torch.zeros(6)
        for gate, number in zip(gates, best.indices.tolist(), strict=True):
            first, activation, second = model.experts[number]
            total += gate * (second.weight @ activation(first.weight @ pixel + first.bias) + second.bias).exp()
        torch.testing.assert_close(routed[b, :, row, column], pixel + total.log(), rtol=1e-4, atol=1e-5)
    assert imbalance == 0


@FORMS
@pytest.mark.parametrize("size", [1e4, 1e30, -1e30])
def test_the_expert_mixture_cannot_overflow(size, form):
    model = form(router()).train()
    with torch.no_grad():
        for expert in model.experts:
            expert[2].bias.fill_(size)
    x = torch.randn(2, 6, 3, 4, requires_grad=True)
    routed, imbalance = model(x, torch.randn(2, 5))
    (routed.sum() + imbalance).backward()
    assert routed.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    torch.testing.assert_close(routed, torch.full_like(routed, size), rtol=1e-3, atol=0)


def test_equally_used_experts_have_no_imbalance():
    model = router().train()
    with torch.no_grad():
        model.gate.zero_()  # only the noise decides
    _, even = model(torch.randn(2, 6, 32, 32), torch.randn(2, 5))
    with torch.no_grad():
        model.instruct.bias.fill_(1)
        model.gate[6:, 0] = 10  # every pixel prefers the first expert
    _, uneven = model(torch.randn(2, 6, 32, 32), torch.randn(2, 5))
    assert 0 <= even < 0.02
    assert uneven > 0.5


def test_the_imbalance_reaches_gate_and_noise():
    model = router().train()
    _, imbalance = model(torch.randn(2, 6, 8, 8), torch.randn(2, 5))
    imbalance.backward()
    assert model.gate.grad.abs().sum() > 0
    assert model.noise.grad.abs().sum() > 0


@pytest.mark.parametrize("active", [0, 4])
def test_a_router_needs_inactive_experts(active):
    with pytest.raises(ValueError, match="at least one and not all"):
        router(active=active)


def test_channel_routing():
    model = ChannelRouter(6, 5)
    x, code = torch.randn(2, 6, 3, 4), torch.randn(2, 5)
    torch.testing.assert_close(model(x, code), x)  # with the initial weights
    torch.nn.init.constant_(model.gamma, 2)
    torch.nn.init.constant_(model.beta, 3)
    weight = torch.sigmoid(F.linear(code, model.instruct.weight, model.instruct.bias))
    torch.testing.assert_close(model(x, code), x + (2 * x + 3) * weight[:, :, None, None])


def test_auxiliary_loss_is_there_in_training_only():
    model = create_model("amir", dim=8, blocks=(1, 1, 1, 1), refinement=1)
    assert isinstance(model, AMIR)
    model.train()(torch.rand(1, 1, 16, 16))
    assert model.auxiliary_loss is not None
    assert model.auxiliary_loss.ndim == 0
    model.eval()(torch.rand(1, 1, 16, 16))
    assert model.auxiliary_loss is None


SMALL = {"dim": 8, "blocks": (1, 1, 1, 1), "refinement": 1}


@FORMS
@pytest.mark.parametrize("off", ["spatial_routing", "channel_routing"])
def test_an_ablation_is_amir_with_routers_that_change_nothing(off, form):
    """The other parameters have the same names, so the weights of the whole network fit, without those of its routers.

    A spatial router changes nothing if its experts' outputs are 0 (log of a sum of gates, 1) and x is passed on.
    """
    whole = form(AMIR(**SMALL)).eval()
    with torch.no_grad():
        for name, parameter in whole.named_parameters():
            if off == "spatial_routing" and ".experts." in name and ".2." in name:
                parameter.zero_()
            elif off == "spatial_routing" and name.endswith(("gamma", "beta")):
                parameter.normal_()
    ablated = form(AMIR(**SMALL, **{off: False})).eval()
    removed = whole.state_dict().keys() - ablated.state_dict().keys()
    assert {name.split(".")[0] for name in removed} == (
        {"spatial1", "spatial2", "spatial3"}
        if off == "spatial_routing"
        else {"channel4", "channel3", "channel2", "channel1"}
    )
    ablated.load_state_dict({name: one for name, one in whole.state_dict().items() if name not in removed})
    image = torch.rand(2, 1, 16, 24)
    with torch.inference_mode():
        torch.testing.assert_close(ablated(image), whole(image), rtol=1e-5, atol=1e-5)
    ablated.train()(image)
    assert (ablated.auxiliary_loss is None) == (off == "spatial_routing")


@pytest.mark.parametrize("off", ["spatial_routing", "channel_routing"])
def test_every_parameter_of_an_ablation_is_trained(off):
    model = create_model("amir", **SMALL, **{off: False}).train()
    loss = model(torch.rand(2, 1, 16, 16)).square().mean()
    (loss if model.auxiliary_loss is None else loss + model.auxiliary_loss).backward()
    assert [name for name, one in model.named_parameters() if one.grad is None] == []


def test_amir_without_any_routing_is_refused():
    with pytest.raises(MedleyError, match="is Restormer; create that instead"):
        create_model("amir", **SMALL, spatial_routing=False, channel_routing=False)
