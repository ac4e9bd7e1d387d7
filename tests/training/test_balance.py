import pytest
import torch
from safetensors.torch import load_file

from medley.training.balance import TatBalance, UniH3Balance
from medley.training.losses import scaled_distance

# The authors' names -> ours.
NAMES = {
    "weight_estimator.fc_in": "enter",
    "weight_estimator.res_block.norm": "norm",
    "weight_estimator.res_block.fc1": "widen",
    "weight_estimator.res_block.fc2": "narrow",
    "weight_estimator.fc_out": "leave",
}


def renamed(original: str) -> str:
    module, _, parameter = original.partition(".")[2].rpartition(".")
    return f"{NAMES[module]}.{parameter}"


def images(*shape: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(shape, generator=generator) for _ in range(3))


def test_equals_the_original_program(shared):
    tensors = load_file(shared / "fixtures" / "metrics_and_balance_reference.safetensors")
    balance = TatBalance().double()
    balance.load_state_dict({renamed(k): v for k, v in tensors.items() if k.startswith("balance.")})
    restored = tensors["balance_restored"].requires_grad_()
    loss = balance(tensors["balance_low"], restored, tensors["balance_target"])
    loss.backward()
    assert loss.item() == pytest.approx(tensors["balance_loss"].item(), rel=1e-12)
    torch.testing.assert_close(restored.grad, tensors["balance_grad_restored"], rtol=1e-9, atol=1e-15)
    ours = dict(balance.named_parameters())
    theirs = {renamed(k): v for k, v in tensors.items() if k.startswith("balance_grad.")}
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name].grad, gradient, rtol=1e-9, atol=1e-15, msg=name)


def test_starts_as_half_the_mean_absolute_error_plus_a_constant():
    low, restored, target = images(3, 1, 16, 16)
    loss = TatBalance()(low, restored, target)
    expected = 0.5 * (restored - target).abs().mean() + 0.5 * torch.log(torch.tensor(2.0))
    torch.testing.assert_close(loss, expected)


def test_the_estimate_takes_no_gradient_to_the_network():
    """A sample's gradient is that of its own L1 times a weight: the same sign everywhere the error has."""
    low, restored, target = images(2, 1, 16, 16)
    balance = TatBalance()
    torch.nn.init.normal_(balance.leave.weight, generator=torch.Generator().manual_seed(1))
    restored.requires_grad_()
    balance(low, restored, target).backward()
    slope = restored.grad / (restored - target).sign().detach()
    assert (slope > 0).all()
    torch.testing.assert_close(slope, slope[:, :, :1, :1].expand_as(slope))


def test_the_weights_of_the_estimate_are_trained():
    low, restored, target = images(2, 1, 16, 16)
    balance = TatBalance()
    balance(low, restored, target).backward()
    assert balance.leave.bias.grad.abs().item() > 0


def test_the_balance_of_unih3_is_its_formula():
    torch.manual_seed(0)
    balance = UniH3Balance(("a", "b", "c"))
    assert sum(p.numel() for p in UniH3Balance("abcdefg").parameters()) == 22_568  # as in the program
    with torch.no_grad():
        balance.of_task.copy_(torch.tensor([1.0, 2.0, 0.5]))
    low, restored, target = torch.rand(3, 2, 1, 9, 7)
    restored.requires_grad_()
    loss = balance(low, restored, target, ("b", "a"))
    expected = []
    for k, task in enumerate((2.0, 1.0)):
        parts = [low[k] - target[k], low[k] - restored[k], restored[k] - target[k]]
        w = balance.estimate(torch.cat([one.abs() for one in parts])[None].detach()).mean() + task
        l1 = (restored[k] - target[k]).abs().mean()
        expected.append(l1 / (w**2 + 1e-8) + torch.log(w**2 + 1))
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    loss.backward()
    assert balance.of_task.grad[2] == 0  # a task that is not in the batch
    assert restored.grad.abs().max() > 0


def test_the_scaled_distance_is_quadratic_for_small_and_linear_for_large_differences():
    scales, target = torch.tensor([0.01, 0.1]), torch.rand(2, 1, 16, 16)

    def error(multiple):
        return scaled_distance(target + multiple * scales[:, None, None, None], target, scales)

    for multiple, expected in ((0.01, 0.01**2), (100.0, 100 - 0.5)):
        torch.testing.assert_close(error(multiple), torch.full((2,), expected), rtol=2e-3, atol=1e-6)


def test_the_scaled_distance_has_a_gradient_where_there_is_no_difference():
    a = torch.rand(2, 1, 8, 8, requires_grad=True)
    loss = scaled_distance(a, a.detach().clone(), torch.tensor([0.01, 0.1])).sum()
    loss.backward()
    assert loss == 0
    assert a.grad.isfinite().all()
