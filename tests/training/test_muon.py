import pytest
import torch
from torch import nn

from medley.training.muon import Muon, orthogonalised


def parameter(*shape, seed=0):
    return nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


def steps(optimizer, parameters, count=5):
    """Steps with reproducible gradients that change from step to step."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        for one in parameters:
            one.grad = torch.randn(one.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize("shape", [(12, 12), (6, 40), (40, 6), (1, 30)])
def test_singular_vectors_are_kept_and_singular_values_are_near_one(shape):
    u, _, v = torch.linalg.svd(parameter(*shape).detach(), full_matrices=False)
    spread = torch.linspace(0.2, 1.0, min(shape))
    result = u.T @ orthogonalised(u * spread @ v) @ v.T
    found = result.diagonal()
    assert ((found > 0.65) & (found < 1.25)).all()
    torch.testing.assert_close(result, torch.diag(found), rtol=0, atol=1e-4)


def test_scale_does_not_matter_and_transposition_commutes():
    matrix = parameter(7, 20).detach()
    torch.testing.assert_close(orthogonalised(matrix * 1e3), orthogonalised(matrix), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(orthogonalised(matrix.T), orthogonalised(matrix).T, rtol=1e-4, atol=1e-5)


def test_a_zero_gradient_moves_nothing():
    one = parameter(4, 6)
    before = one.detach().clone()
    one.grad = torch.zeros_like(one)
    Muon([{"params": [one], "muon": True}], lr=0.1).step()
    assert torch.equal(one, before)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
@pytest.mark.parametrize("shape", [(16, 16), (8, 30), (30, 8)])
def test_on_matrices_the_step_is_that_of_torch(shape):
    """torch iterates in bfloat16, so its updates differ by about a percent."""
    ours, theirs = parameter(*shape), parameter(*shape)
    start = ours.detach().clone()
    steps(Muon([{"params": [ours], "muon": True, "weight_decay": 0.1}], lr=0.01, momentum=0.9), [ours])
    reference = torch.optim.Muon(
        [theirs], lr=0.01, momentum=0.9, weight_decay=0.1, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )
    steps(reference, [theirs])
    moved = theirs.detach() - start
    assert (ours.detach() - start - moved).norm() < 0.03 * moved.norm()


def test_a_kernel_is_a_matrix_of_its_output_channels():
    kernel, matrix = parameter(6, 4, 3, 3), nn.Parameter(parameter(6, 4, 3, 3).detach().flatten(1))
    for one in (kernel, matrix):
        steps(Muon([{"params": [one], "muon": True}], lr=0.01), [one])
    assert torch.equal(kernel.flatten(1), matrix)


def test_the_update_has_the_size_of_an_adamw_update():
    one = parameter(64, 32, 3, 3)
    before = one.detach().clone()
    steps(Muon([{"params": [one], "muon": True}], lr=0.5), [one], count=1)
    assert 0.1 < (one.detach() - before).square().mean().sqrt() / 0.5 < 0.25


def test_other_groups_follow_adamw_of_torch():
    ours, theirs = [parameter(5), parameter(3, 4)], [parameter(5), parameter(3, 4)]
    steps(Muon([{"params": ours, "weight_decay": 0.1}], lr=0.01, betas=(0.9, 0.98)), ours)
    steps(torch.optim.AdamW(theirs, lr=0.01, betas=(0.9, 0.98), weight_decay=0.1), theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_parameters_without_a_gradient_are_unchanged():
    one, other = parameter(4, 4), parameter(4)
    before = one.detach().clone(), other.detach().clone()
    Muon([{"params": [one], "muon": True, "weight_decay": 0.5}, {"params": [other]}], lr=0.1).step()
    assert torch.equal(one, before[0])
    assert torch.equal(other, before[1])


def test_the_state_continues_bit_identically():
    whole, halves = [parameter(6, 9), parameter(6)], [parameter(6, 9), parameter(6)]

    def optimizer(parameters):
        return Muon([{"params": parameters[:1], "muon": True}, {"params": parameters[1:]}], lr=0.01)

    def advance(one, parameters, first, last):
        for k in range(first, last):
            for p in parameters:
                p.grad = torch.full_like(p, 0.1).addcmul(p.detach(), p.detach(), value=k + 1.0)
            one.step()

    advance(optimizer(whole), whole, 0, 6)
    first = optimizer(halves)
    advance(first, halves, 0, 3)
    second = optimizer(halves)
    second.load_state_dict(first.state_dict())
    advance(second, halves, 3, 6)
    assert all(torch.equal(a, b) for a, b in zip(whole, halves, strict=True))


def test_vectors_in_a_muon_group_are_refused():
    with pytest.raises(ValueError, match="at least two dimensions"):
        Muon([{"params": [parameter(4)], "muon": True}], lr=0.1)
