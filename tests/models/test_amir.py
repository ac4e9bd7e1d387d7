import pytest
import torch
import torch.nn.functional as F

from medley.models.amir import AMIR, ChannelRouter, SpatialRouter
from medley.models.zoo import create_model


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def router(**changes: int) -> SpatialRouter:
    return SpatialRouter(**({"channels": 6, "width": 5, "expansion": 2.0, "experts": 4, "active": 2} | changes))


def test_spatial_routing_by_its_definition():
    """All experts on all pixels, gates of zero for those not chosen, log of the sum of exponentials."""
    model = router().eval()
    x, told = torch.randn(3, 4, 2, 6), torch.randn(2, 5)
    instruction = model.instruct(told).expand(3, 4, 2, 6)
    logits = torch.cat([x, instruction], dim=3) @ model.gate
    kept = logits >= logits.topk(2, dim=3).values[..., -1:]
    gates = logits.masked_fill(~kept, -torch.inf).softmax(dim=3)  # (H, W, B, experts)
    answers = torch.stack([expert(x) for expert in model.experts], dim=3)  # (H, W, B, experts, C)
    expected = x + (gates.unsqueeze(4) * answers.exp()).sum(dim=3).log()
    routed, imbalance = model(x, told)
    torch.testing.assert_close(routed, expected)
    assert imbalance == 0


@pytest.mark.parametrize("size", [1e4, 1e30, -1e30])
def test_the_expert_mixture_cannot_overflow(size):
    model = router().train()
    with torch.no_grad():
        for expert in model.experts:
            expert[2].bias.fill_(size)
    x = torch.randn(3, 4, 2, 6, requires_grad=True)
    routed, imbalance = model(x, torch.randn(2, 5))
    (routed.sum() + imbalance).backward()
    assert routed.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    torch.testing.assert_close(routed, torch.full_like(routed, size), rtol=1e-3, atol=0)


def test_experts_used_alike_are_in_balance():
    model = router().train()
    with torch.no_grad():
        model.gate.zero_()  # nothing but noise decides
    _, even = model(torch.randn(32, 32, 2, 6), torch.randn(2, 5))
    with torch.no_grad():
        model.instruct.bias.fill_(1)
        model.gate[6:, 0] = 10  # everything wants the first expert
    _, uneven = model(torch.randn(32, 32, 2, 6), torch.randn(2, 5))
    assert 0 <= even < 0.02
    assert uneven > 0.5


def test_the_imbalance_reaches_gate_and_noise():
    model = router().train()
    _, imbalance = model(torch.randn(8, 8, 2, 6), torch.randn(2, 5))
    imbalance.backward()
    assert model.gate.grad.abs().sum() > 0
    assert model.noise.grad.abs().sum() > 0


@pytest.mark.parametrize("active", [0, 4])
def test_a_router_must_have_a_choice(active):
    with pytest.raises(ValueError, match="at least one and not all"):
        router(active=active)


def test_channel_routing():
    model = ChannelRouter(6, 5)
    x, told = torch.randn(3, 4, 2, 6), torch.randn(2, 5)
    torch.testing.assert_close(model(x, told), x)  # as it starts
    torch.nn.init.constant_(model.gamma, 2)
    torch.nn.init.constant_(model.beta, 3)
    weight = torch.sigmoid(F.linear(told, model.instruct.weight, model.instruct.bias))
    torch.testing.assert_close(model(x, told), x + (2 * x + 3) * weight[None, None])


def test_auxiliary_loss_is_there_in_training_only():
    model = create_model("amir", dim=8, blocks=(1, 1, 1, 1), refinement=1)
    assert isinstance(model, AMIR)
    model.train()(torch.rand(1, 1, 16, 16))
    assert model.auxiliary_loss is not None
    assert model.auxiliary_loss.ndim == 0
    model.eval()(torch.rand(1, 1, 16, 16))
    assert model.auxiliary_loss is None
