"""Laws of interference on networks and losses whose gradients are known."""

import numpy as np
import pytest
import torch
from torch import nn

from medley.errors import MedleyError
from medley.experiments.interference import FEWEST, measure, shared_parameters

TASKS = ("a", "b")


class Line(nn.Module):
    """Two layers of three weights each; a loss is linear in all of them."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Linear(3, 1, bias=False)
        self.second = nn.Linear(3, 1, bias=False)
        for one in self.parameters():
            one.data = torch.randn(one.shape, generator=generator)


def slopes(count, seed=1):
    """Slopes of the losses of two tasks, (2, 6) each, for several batches."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 6, generator=generator) for _ in range(count)]


def linear(network):
    """L_i(batch) = slope_i · (all weights)."""
    return lambda batch: dict(
        zip(TASKS, batch @ torch.cat([one.flatten() for one in network.parameters()]), strict=True)
    )


def matrix(effects, what="interference"):
    count = round(len(effects) ** 0.5)
    return np.array([getattr(one, what) for one in effects]).reshape(count, count)


def effects(losses, batches, network, **options):
    return measure(network, losses(network), TASKS, [(one, one) for one in batches], **options)


def test_the_diagonal_is_one():
    found = effects(linear, slopes(8), Line())
    np.testing.assert_allclose(np.diagonal(matrix(found)), 1, rtol=1e-12)
    np.testing.assert_allclose(np.diagonal(matrix(found, "cosine")), 1, rtol=1e-12)
    assert [(one.task, one.other) for one in found] == [("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")]


@pytest.mark.parametrize("sign", [1, -1])
def test_identical_and_opposite_losses(sign):
    same = [torch.stack([one[0], sign * one[0]]) for one in slopes(4)]
    found = effects(linear, same, Line())
    expected = [[1, sign], [sign, 1]]
    np.testing.assert_allclose(matrix(found), expected, rtol=1e-5)
    np.testing.assert_allclose(matrix(found, "cosine"), expected, rtol=1e-6)


def test_a_task_with_another_scale_is_the_same_task():
    scaled = [torch.stack([one[0], 100 * one[0]]) for one in slopes(4)]
    np.testing.assert_allclose(matrix(effects(linear, scaled, Line())), 1, rtol=1e-5)


def test_of_linear_losses_both_follow_from_the_slopes():
    batches = slopes(8)
    found = effects(linear, batches, Line())
    a, b = (torch.stack([one[k] for one in batches]).double().numpy() for k in (0, 1))
    size = {"a": np.linalg.norm(a, axis=1), "b": np.linalg.norm(b, axis=1)}
    products = (a * b).sum(axis=1)
    np.testing.assert_allclose(matrix(found, "cosine")[0, 1], (products / size["a"] / size["b"]).mean(), rtol=1e-5)
    np.testing.assert_allclose(matrix(found)[0, 1], (products / size["b"]).mean() / size["a"].mean(), rtol=1e-5)
    np.testing.assert_allclose(matrix(found)[1, 0], (products / size["a"]).mean() / size["b"].mean(), rtol=1e-5)


def test_tasks_on_different_layers_do_not_interfere_and_layers_can_be_chosen():
    apart = torch.tensor([[1.0, 2, 3, 0, 0, 0], [0.0, 0, 0, 3, 2, 1]])
    found = effects(linear, [apart] * 3, Line())
    np.testing.assert_allclose(matrix(found), np.eye(2), atol=1e-6)
    both = torch.tensor([[1.0, 0, 0, 1, 0, 0], [1.0, 0, 0, -1, 0, 0]])
    found = effects(linear, [both] * 3, Line(), layers=("first", "second.weight", "*"))
    off = {one.layers: one.interference for one in found if (one.task, one.other) == ("a", "b")}
    assert off == pytest.approx({"first": 1, "second.weight": -1, "*": 0}, abs=1e-6)
    assert {one.layers: one.parameters for one in found} == {"first": 3, "second.weight": 3, "*": 6}


def test_with_other_samples_only_what_they_share_counts():
    """The gradients are common + own and common - own parts of a batch; the own parts of two batches are orthogonal."""
    common, *own = torch.eye(6)
    batches = [torch.stack([common + 3 * one, common - 3 * one]) for one in own[:4]]
    network = Line()
    np.testing.assert_allclose(matrix(effects(linear, batches, network)), [[1, -0.8], [-0.8, 1]], rtol=1e-5)
    pairs = list(zip(batches[::2], batches[1::2], strict=True))
    found = measure(network, linear(network), TASKS, pairs)
    np.testing.assert_allclose(matrix(found), 1, rtol=1e-5)


def test_the_interval_contains_the_value_and_needs_several_batches():
    many = effects(linear, slopes(40), Line())[1]
    assert many.interference_low < many.interference < many.interference_high
    assert many.cosine_low < many.cosine < many.cosine_high
    assert many.batches == 40
    few = effects(linear, slopes(FEWEST - 1), Line())[1]
    assert np.isfinite(few.interference)
    assert np.isnan([few.interference_low, few.interference_high]).all()


def test_a_step_that_raises_its_own_loss_on_other_samples_gives_no_value():
    one = torch.stack([torch.ones(6), torch.ones(6)])
    network = Line()
    found = measure(network, linear(network), TASKS, [(one, -one)] * 8)
    assert np.isnan(matrix(found)).all()
    assert (matrix(found, "drop") < 0).all()
    np.testing.assert_allclose(matrix(found, "cosine"), 1, rtol=1e-12)


def test_it_is_the_limit_of_short_steps():
    """Of a loss that is not linear: the difference quotient of the formula in the module, in double precision."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    batch = torch.randn(7, 4, dtype=torch.float64)

    def losses(x):
        return dict(zip(TASKS, network(x).square().mean(0), strict=True))

    found = matrix(measure(network, losses, TASKS, [(batch, batch)]), "drop")
    parameters = list(network.parameters())
    start = [one.detach().clone() for one in parameters]
    for j, task in enumerate(TASKS):
        before = [float(one.detach()) for one in losses(batch).values()]
        gradient = torch.autograd.grad(losses(batch)[task], parameters, allow_unused=True)
        gradient = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradient, strict=True)]
        length = float(torch.cat([one.flatten() for one in gradient]).norm())
        with torch.no_grad():
            for one, old, g in zip(parameters, start, gradient, strict=True):
                one.copy_(old - 1e-6 * g / length)
            after = [float(one) for one in losses(batch).values()]
            for one, old in zip(parameters, start, strict=True):
                one.copy_(old)
        np.testing.assert_allclose(found[:, j], (np.array(before) - after) / 1e-6, rtol=1e-4)


def test_batches_without_a_task_are_left_out():
    batches = slopes(6)
    network = Line()
    every = linear(network)

    def some(batch):
        found = every(batch)
        return {"a": found["a"]} if batch is batches[0] else found

    found = measure(network, some, TASKS, [(one, one) for one in batches])
    assert [one.batches for one in found] == [6, 5, 5, 5]
    rest = effects(linear, batches[1:], Line())
    assert found[1].interference == pytest.approx(rest[1].interference, rel=1e-6)
    never = measure(network, lambda batch: {"a": every(batch)["a"]}, TASKS, [(batches[0], batches[0])])
    assert never[1].batches == 0
    assert np.isnan(never[1].interference)


def test_only_shared_parameters_are_used():
    from medley.models.zoo import create_model

    targets = {"dose": ("pixel", 1), "diagnosis": ("image", 3)}
    small = {"width": 4, "widest": 8, "blocks": (1, 1, 1, 1), "stem": 2}
    hps = create_model("hps", targets=targets, **small)
    assert {id(one) for one in shared_parameters(hps)} == {id(one) for one in hps.encoder.parameters()}
    with pytest.raises(MedleyError, match=r"called like 'decoders'; the names begin with encoder"):
        shared_parameters(hps, "decoders")
    with pytest.raises(MedleyError, match="share no parameters in STL"):
        shared_parameters(create_model("stl", targets=targets, **small))
    with pytest.raises(MedleyError, match="at least two tasks, but there is only a"):
        measure(hps, lambda batch: {}, ("a",), [])
