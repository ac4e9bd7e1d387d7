import math

import pytest
import torch
from torch import nn

from medley.errors import MedleyError
from medley.training.balance import backward_aggregated, create_aggregator, create_weighting
from medley.training.settings import Balance

TASKS = ("dose", "segmentation")
AGGREGATIONS = ("pcgrad", "mgda", "aligned-mtl", "imtl-g")


def losses(a=2.0, b=0.5):
    return {"dose": torch.tensor(a, requires_grad=True), "segmentation": torch.tensor(b, requires_grad=True)}


def values(weighed):
    return [loss.item() for loss in weighed.values()]


def test_equal_leaves_losses_as_they_are_and_fixed_multiplies():
    assert values(create_weighting(Balance(), TASKS)(losses())) == [2.0, 0.5]
    fixed = create_weighting(Balance(name="fixed", weights={"segmentation": 4}), TASKS)
    assert values(fixed(losses())) == [2.0, 2.0]
    with pytest.raises(MedleyError, match="names severity"):
        create_weighting(Balance(name="fixed", weights={"severity": 4}), TASKS)


def test_a_loss_that_is_no_tasks_passes():
    weighting = create_weighting(Balance(name="uncertainty"), TASKS)
    assert weighting({"auxiliary": torch.tensor(3.0)})["auxiliary"] == 3


def test_uncertainty_is_least_where_the_variance_is_the_loss():
    """d/ds (exp(-s) L + s/2) = 0 at σ² = 2 L, and at σ² = L for a continuous target."""
    weighting = create_weighting(Balance(name="uncertainty"), TASKS, continuous=("dose",))
    assert values(weighting(losses())) == [1.0, 0.5]  # σ = 1 at first: half the loss, the loss
    with torch.no_grad():
        weighting.log_variance.copy_(torch.tensor([math.log(2.0), math.log(1.0)]))
    (sum(weighting(losses(2.0, 0.5)).values()) + weighting.penalty(TASKS)).backward()
    torch.testing.assert_close(weighting.log_variance.grad, torch.zeros(2), atol=1e-6, rtol=0)


def test_dynamic_weight_average_favours_the_loss_that_falls_slowly():
    weighting = create_weighting(Balance(name="dwa", period=2, temperature=1.0), TASKS)
    for a, b in [(1.0, 1.0), (1.0, 1.0), (0.5, 1.0), (0.5, 1.0)]:
        assert values(weighting(losses(a, b))) == [a, b]  # two periods at equal weights
        weighting.record({"dose": a, "segmentation": b})
    weights = values(weighting(losses(1.0, 1.0)))
    expected = torch.softmax(torch.tensor([0.5, 1.0]), 0) * 2
    assert weights == pytest.approx(expected.tolist())
    assert sum(weights) == pytest.approx(2)


def test_dynamic_weight_average_leaves_out_steps_without_a_task():
    weighting = create_weighting(Balance(name="dwa", period=2), TASKS)
    for _ in range(3):
        for step in ({"dose": 2.0, "segmentation": 0.5}, {"dose": 2.0}):
            weighting.record(step)
    assert weighting.last.tolist() == pytest.approx([2.0, 0.5])


class Toy(nn.Module):
    """A shared weight and one of each task's own."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.shared = nn.Parameter(torch.randn(4, generator=generator))
        self.own = nn.ParameterList(nn.Parameter(torch.randn(4, generator=generator)) for _ in range(2))

    def losses(self):
        return [((self.shared * own).sum() - 1) ** 2 for own in self.own]


def plain_gradients(toy):
    return [torch.autograd.grad(loss, toy.shared)[0] for loss in toy.losses()]


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_own_parameters_have_their_own_gradient_and_shared_ones_no_conflict(name):
    toy = Toy()
    rows = torch.stack(plain_gradients(toy))
    torch.manual_seed(0)
    backward_aggregated(toy.losses(), [], list(toy.parameters()), create_aggregator(name))
    for own, loss in zip(toy.own, toy.losses(), strict=True):
        torch.testing.assert_close(own.grad, torch.autograd.grad(loss, own)[0])
    assert (rows @ toy.shared.grad > -1e-5).all()  # no task is made worse


def test_aggregating_by_the_sum_is_backward():
    toy = Toy()
    sum(toy.losses()).backward()
    expected = [p.grad for p in toy.parameters()]
    toy.zero_grad()
    backward_aggregated(toy.losses(), [], list(toy.parameters()), lambda matrix: matrix.sum(0))
    torch.testing.assert_close([p.grad for p in toy.parameters()], expected)


def test_other_losses_and_what_weighs_the_tasks_are_not_aggregated():
    """Aggregating to nothing leaves the gradients of what is no task's, and those of the weights of losses."""
    toy, weight = Toy(), nn.Parameter(torch.tensor([2.0]))
    weighed = [weight[0] * loss for loss in toy.losses()]
    backward_aggregated(weighed, [3 * toy.shared.sum()], list(toy.parameters()), lambda rows: 0 * rows[0])
    torch.testing.assert_close(toy.shared.grad, torch.full_like(toy.shared, 3.0))
    torch.testing.assert_close(weight.grad, sum(toy.losses()).detach().view(1))


def test_a_parameter_that_no_loss_uses_has_no_gradient():
    toy, idle = Toy(), nn.Parameter(torch.ones(3))
    backward_aggregated(toy.losses(), [], [*toy.parameters(), idle], lambda matrix: matrix.sum(0))
    assert idle.grad is None


def test_pcgrad_projects_conflicting_gradients():
    """Yu et al., eq. 2: each gradient loses its part against the other."""
    rows = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    a, b = rows
    expected = (a - a @ b / (b @ b) * b) + (b - b @ a / (a @ a) * a)
    torch.testing.assert_close(create_aggregator("pcgrad")(rows), expected)
