"""The laws of CTAN: what targets take from each other, and what is left when that is cut."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from medley.models._paths import walk
from medley.models.ctan import CTAN, CrossTaskBottleneck

SMALL = {"width": 4, "blocks": (1, 1), "stem": 2, "heads": 2}
TARGETS = {"dose": ("pixel", 1), "segmentation": ("pixel", 3), "diagnosis": ("image", 2)}


def network(targets=TARGETS, **config) -> CTAN:
    torch.manual_seed(0)
    model = CTAN(targets=targets, **(SMALL | config)).eval()
    with torch.no_grad():
        for decoder in model.decoders.values():
            getattr(decoder, "answer", decoder).weight.normal_()
    return model


def influence(model: CTAN, of: str, image: torch.Tensor) -> dict[str, float]:
    """How much each answer changes when what one target took from the backbone is another."""
    with torch.inference_mode():
        before = model(image)
        for parameter in model.paths[of].parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        after = model(image)
    return {name: float((before[name] - after[name]).abs().max()) for name in before}


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(1, 1, 24, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("of", TARGETS)
def test_every_target_influences_every_other(of, image):
    assert min(influence(network(), of, image).values()) > 1e-3


@pytest.mark.parametrize("of", TARGETS)
def test_no_influence_without_cross(of, image):
    changed = influence(network(cross=False), of, image)
    assert changed.pop(of) > 1e-3
    assert set(changed.values()) == {0.0}


def cut_masks(model: CTAN) -> None:
    """The masks' weights for the mean of the others' features, the last of the channels they see, are zero."""
    with torch.no_grad():
        for path in model.paths.values():
            for mask, outer in zip(path.masks, model.encoder.outer, strict=True):
                weight = mask[0][0].weight  # (width, outer + own + others, 1, 1)
                weight[:, (weight.shape[1] + outer) // 2 :] = 0


def cut_bottlenecks(model: CTAN) -> None:
    with torch.no_grad():
        for bottleneck in model.bottlenecks.values():
            bottleneck.project.weight.zero_()


def test_no_influence_when_the_others_values_are_cut(image):
    model = network()
    cut_masks(model)
    cut_bottlenecks(model)
    changed = influence(model, "dose", image)
    assert changed.pop("dose") > 1e-3
    assert set(changed.values()) == {0.0}


@pytest.mark.parametrize("cut", [cut_masks, cut_bottlenecks])
def test_masks_and_bottleneck_each_carry_influence(cut, image):
    model = network()
    cut(model)
    assert min(influence(model, "dose", image).values()) > 1e-4


@pytest.mark.parametrize("stage", [0, 1])
def test_a_mask_sees_the_shared_features_its_own_and_the_mean_of_the_others(stage, image):
    model, seen = network(), []
    model.paths["dose"].masks[stage].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        shared = model.encoder(image)
        taken = walk(model.paths, shared, others=True)
    own, one, two = (F.max_pool2d(taken[name][0], 2) if stage else shared.stem for name in TARGETS)
    torch.testing.assert_close(seen, [torch.cat([shared.stages[stage], own, (one + two) / 2], dim=1)])


def test_a_target_alone_has_nobody_to_attend_to(image):
    alone = {"dose": ("pixel", 1)}
    model, cut = network(alone), network(alone, cross=False)
    cut.load_state_dict(model.state_dict())
    assert not any("query" in name for name, _ in model.named_parameters())
    with torch.inference_mode():
        answer = model(image)["dose"]
        assert torch.equal(answer, cut(image)["dose"])
    assert answer.shape == (1, 1, 24, 16)
    assert answer.std() > 0


@pytest.fixture
def bottleneck() -> CrossTaskBottleneck:
    torch.manual_seed(0)
    return CrossTaskBottleneck(8, 2, attends=True)


def test_the_bottleneck_is_multi_head_attention(bottleneck):
    own, one, two = torch.randn(3, 2, 5, 8).unbind()
    library = nn.MultiheadAttention(8, 2, batch_first=True)
    key, value = bottleneck.key_value.weight.unflatten(0, (2, 2, 4)).unbind(1)  # by head: key, then value
    key_bias, value_bias = bottleneck.key_value.bias.unflatten(0, (2, 2, 4)).unbind(1)
    with torch.no_grad():
        library.in_proj_weight.copy_(torch.cat([bottleneck.query.weight, key.flatten(0, 1), value.flatten(0, 1)]))
        library.in_proj_bias.copy_(torch.cat([bottleneck.query.bias, key_bias.flatten(), value_bias.flatten()]))
    library.out_proj = bottleneck.project
    others = torch.cat([one, two], dim=1)
    attended = own + library(own, others, others, need_weights=False)[0]
    torch.testing.assert_close(bottleneck(own, [one, two]), attended + bottleneck.feed(attended))


def test_the_bottleneck_does_not_ask_in_which_order_the_others_come(bottleneck):
    own, one, two = torch.randn(3, 2, 5, 8).unbind()
    torch.testing.assert_close(bottleneck(own, [one, two]), bottleneck(own, [two, one]))


def test_a_token_follows_its_own_place(bottleneck):
    own, other = torch.randn(2, 1, 5, 8).unbind()
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(bottleneck(own, [other])[:, order], bottleneck(own[:, order], [other]))


def exchanging(**config) -> CTAN:
    """With random weights where fresh ones are zero."""
    model = network(exchange=True, **config)
    with torch.no_grad():
        for parameter in model.exchange.parameters() if model.exchange else ():
            parameter.normal_(std=0.3)
    return model


@pytest.mark.parametrize("targets", [TARGETS, {"dose": ("pixel", 1), "diagnosis": ("image", 2)}], ids=["three", "two"])
def test_fresh_exchange_changes_nothing(targets, image):
    plain, exchange = network(targets), network(targets, exchange=True)
    missing, unexpected = exchange.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("exchange.") for name in missing)
    with torch.inference_mode():
        for name, answer in plain(image).items():
            torch.testing.assert_close(exchange(image)[name], answer)


def test_decoders_that_exchange_see_each_other(image):
    """The decoder of one target is changed: without exchange no other answer moves, with it all do that may."""
    for model, moved in ((network(), {"dose"}), (exchanging(), {"dose", "segmentation", "diagnosis"})):
        with torch.inference_mode():
            before = model(image)
            for parameter in model.decoders["dose"].parameters():
                parameter.add_(0.5 * torch.randn_like(parameter))
            after = model(image)
        assert {name for name in before if not torch.equal(before[name], after[name])} == moved


def test_a_diagnosis_that_looks_does_not_bend_the_outline(image):
    model = exchanging().train()
    image = image.repeat(2, 1, 1, 1)
    model(image)["diagnosis"].square().sum().backward()
    assert all(p.grad is None for name in ("dose", "segmentation") for p in model.decoders[name].parameters())
    assert model.exchange.look["diagnosis"].weight.grad.abs().sum() > 0


def test_one_target_or_no_cross_has_nothing_to_exchange():
    assert network({"dose": ("pixel", 1)}, exchange=True).exchange is None
    assert network(cross=False, exchange=True).exchange is None


def test_exchange_in_3d_and_its_permutations():
    order = ["diagnosis", "segmentation", "dose"]
    model = exchanging(dimension=3)
    other = CTAN(targets={name: TARGETS[name] for name in order}, **SMALL, dimension=3, exchange=True).eval()
    state = model.state_dict()
    # What looks at the drafts takes them in the order of the targets: dose's one channel, then the three structures.
    look = state["exchange.look.diagnosis.weight"].unflatten(1, (4, -1))
    state["exchange.look.diagnosis.weight"] = look[:, [1, 2, 3, 0]].flatten(1)
    other.load_state_dict(state)
    image = torch.rand(1, 1, 16, 20, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, permuted = model(image), other(image)
    assert list(permuted) == order
    for name in order:
        torch.testing.assert_close(found[name], permuted[name], rtol=1e-4, atol=1e-5)
