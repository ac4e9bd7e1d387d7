import pytest
import torch

from medley.models import cost, memory
from medley.models.memory import HomogeneityMemory
from medley.models.precision import to_bfloat16
from medley.models.unih3 import TASKS, GuidedAttention, UniH3
from medley.models.zoo import create_model

SMALL = {"dim": 8, "blocks": (1, 1, 1, 1), "refinement": 1, "heads": (1, 2, 2, 4), "slots": 5}


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = UniH3(**SMALL)
    for parameter in model.parameters():  # so that nothing is hidden by initial zeros
        if parameter.requires_grad and parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def one_memory():
    torch.manual_seed(1)
    made = HomogeneityMemory(channels=12, heads=3, tasks=4, slots=6)
    torch.nn.init.normal_(made.gamma, std=0.3)
    torch.nn.init.normal_(made.store)
    return made


@pytest.mark.parametrize(("tasks", "expected"), [(TASKS, 28_962_517), (TASKS[:3], 28_593_877)])
def test_the_number_of_parameters_is_that_of_the_program(tasks, expected):
    with torch.device("meta"):
        model = UniH3(tasks=tasks)
    assert cost.parameters(model) == expected
    stores = [one.store.numel() for one in model.memories]
    assert sum(stores) == sum(one.prototypes.numel() for one in model.memories) == (len(tasks) + 1) * 128 * 720


def test_multiply_adds_are_those_of_the_program():
    """26.31 G in convolutions and linear layers at 128 x 128, about 3.9 G in the products of attention and memory."""
    with torch.device("meta"):
        model = UniH3()
    assert cost.flops(model, (1, 128, 128)) / 2 == pytest.approx(26.31e9 + 3.9e9, rel=0.01)


@pytest.mark.parametrize("size", [(16, 16), (37, 22), (64, 41)])
def test_any_size_and_the_fast_form_is_the_textbook_form(network, size):
    from medley.models.fast import optimise, textbook

    image = torch.rand(2, 1, *size)
    with torch.inference_mode():
        expected = textbook(network).eval()(image)
        fast = optimise(network).eval()(image)
    assert expected.shape == image.shape
    torch.testing.assert_close(fast, expected, rtol=1e-4, atol=1e-5)


def test_gradients_of_the_fast_form_are_those_of_the_textbook_form(network):
    from medley.models.fast import optimise, textbook

    image = torch.rand(1, 1, 24, 32)
    plain = textbook(network)
    gradients = []
    for form in (plain, optimise(network)):
        form.zero_grad()
        form(image).square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in form.named_parameters() if p.grad is not None})
    first, second = gradients
    assert first.keys() == second.keys()
    for name, gradient in first.items():
        torch.testing.assert_close(second[name], gradient, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("entries", [1, 4 * 30 * 7, 10**6])
def test_blocks_of_pixels_do_not_change_the_result(one_memory, monkeypatch, entries):
    embedding, target = torch.rand(2, 12, 7, 9), torch.rand(2, 12, 7, 9)
    expected = one_memory(embedding).detach()  # with gradients: a single block
    query, features = one_memory.query(one_memory.norm_query(embedding)), torch.rand(2, 3, 4, 63)
    with torch.enable_grad():
        collected = one_memory._collected(query, one_memory._keys(), features).detach()
    monkeypatch.setattr(memory, "_AT_ONCE", entries)
    with torch.no_grad():
        torch.testing.assert_close(one_memory(embedding), expected, rtol=1e-4, atol=1e-5)
        found = one_memory._collected(query, one_memory._keys(), features)
    torch.testing.assert_close(found, collected, rtol=1e-4, atol=1e-5)
    assert target.shape == embedding.shape


def test_collected_features_are_means_weighted_by_a_softmax_over_pixels(one_memory):
    query, features = torch.rand(1, 12, 5, 6), torch.rand(1, 3, 4, 30)
    found = one_memory._collected(query, one_memory._keys(), features)
    [(scores, _)] = list(one_memory._scores(query, one_memory._keys()))
    weights = scores.softmax(dim=2)  # (1, heads, pixels, K)
    expected = weights.transpose(2, 3) @ features.transpose(2, 3)  # (1, heads, K, 4)
    torch.testing.assert_close(found, expected.transpose(1, 2).reshape(1, 5, 6, 12))


def test_the_store_copies_first_and_then_averages_and_absent_tasks_stay():
    torch.manual_seed(0)
    made = HomogeneityMemory(channels=8, heads=2, tasks=3, slots=4)
    embedding, target = torch.rand(3, 8, 6, 6), torch.rand(3, 8, 6, 6)
    keys = made._keys().detach()
    query, features = (made.query(made.norm_query(one)).detach() for one in (embedding, target))
    each = made._collected(query, keys, features.flatten(2).unflatten(1, (2, -1)))  # (3, 4, slots, C)
    made.collect(embedding, target, [0, 2, 2])
    assert made.filled.tolist() == [True, False, True, True]
    torch.testing.assert_close(made.store[0], each[0, 0])
    torch.testing.assert_close(made.store[2], (each[1, 2] + each[2, 2]) / 2)
    torch.testing.assert_close(made.store[3], each[:, 3].mean(dim=0))
    assert made.store[1].abs().max() == 0
    before = made.store.clone()
    made.collect(embedding[:1], target[:1], [0])
    torch.testing.assert_close(made.store[0], 0.99 * before[0] + 0.01 * each[0, 0])
    assert torch.equal(made.store[2], before[2])


def test_only_training_with_a_target_changes_the_store(network):
    image, target = torch.rand(2, 1, 24, 24), torch.rand(2, 1, 24, 24)
    tasks = ("ct-denoise", "xray-denoise")

    def stores():
        return torch.cat([one.store.flatten() for one in network.memories]).clone()

    before = stores()
    network.train()(image)
    network.eval()(image, target, tasks)
    assert torch.equal(stores(), before)
    in_training = network.train()(image, target, tasks)
    assert not torch.equal(stores(), before)
    torch.testing.assert_close(network.eval()(image), in_training)  # the store is written before it is read
    with pytest.raises(ValueError, match="expected one of pet-denoise"):
        network.train()(image, target, ("ct-denoise", "teeth"))


def test_without_guidance_attention_is_that_of_restormer():
    torch.manual_seed(0)
    guided = GuidedAttention(8, 2)
    x, guide = torch.rand(1, 8, 5, 6), torch.rand(1, 8, 5, 6)
    from medley.models.attention import Attention

    plain = Attention(8, 2, guided.kernel)
    plain.load_state_dict({k: v for k, v in guided.state_dict().items() if k not in ("gamma", "beta")})
    torch.testing.assert_close(guided(x, guide), plain(x))
    torch.nn.init.ones_(guided.beta)
    value = guided.kernel(guided.qkv(x)).chunk(3, dim=1)[2]
    torch.testing.assert_close(guided(x, guide) - plain(x), guided.project(guide - value), rtol=1e-4, atol=1e-5)


def test_bfloat16_is_close(network):
    from copy import deepcopy

    image = torch.rand(1, 1, 32, 40)
    with torch.inference_mode():
        expected = network.eval()(image)
        found = to_bfloat16(deepcopy(network)).eval()(image)
    assert found.dtype == torch.float32
    assert (found - expected).norm() < 0.03 * (expected - image).norm()


def test_the_tiny_form_is_small():
    with torch.device("meta"):
        assert cost.parameters(create_model("unih3-tiny")) < 1.5e6
