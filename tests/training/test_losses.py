import pytest
import torch
import torch.nn.functional as F

from medley.targets import Target
from medley.training.losses import map_loss, structures_loss, target_loss

DRAWN = torch.tensor([[True, True], [True, False]])


def masks():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 6, 7, generator=generator, requires_grad=True)
    return logits, (torch.rand(2, 2, 6, 7, generator=generator) > 0.6).float()


def test_a_structure_that_was_not_drawn_has_no_gradient_and_its_truth_no_influence():
    logits, truth = masks()
    loss = structures_loss(logits, truth, DRAWN)
    loss.backward()
    assert not logits.grad[1, 1].any()
    assert logits.grad[0].any(dim=(1, 2)).all()
    other = truth.clone()
    other[1, 1] = 1 - other[1, 1]
    assert structures_loss(logits, other, DRAWN) == loss


def test_a_perfect_mask_costs_nothing_and_a_wrong_one_much():
    _, truth = masks()
    sure = 40 * (2 * truth - 1)
    assert structures_loss(sure, truth, DRAWN).item() == pytest.approx(0, abs=1e-6)
    assert structures_loss(-sure, truth, DRAWN) > 30


def test_dice_part_is_that_of_the_whole_batch():
    logits, truth = masks()
    every = torch.ones(2, 2, dtype=torch.bool)
    p = logits.sigmoid()
    dice = [(2 * (p * truth)[:, k].sum() + 1) / (p[:, k].sum() + truth[:, k].sum() + 1) for k in range(2)]
    expected = F.binary_cross_entropy_with_logits(logits, truth) + 1 - sum(dice) / 2
    torch.testing.assert_close(structures_loss(logits, truth, every), expected)


def test_a_map_is_trained_within_its_region_only():
    generator = torch.Generator().manual_seed(0)
    answer = torch.rand(2, 1, 5, 5, generator=generator, requires_grad=True)
    truth = torch.rand(2, 1, 5, 5, generator=generator)
    region = torch.rand(2, 1, 5, 5, generator=generator) > 0.5
    loss = map_loss(answer, truth, region)
    torch.testing.assert_close(loss, (answer - truth).abs()[region].mean())
    loss.backward()
    assert not answer.grad[~region].any()


def test_a_case_without_label_adds_nothing_and_a_rare_class_counts_more():
    target = Target(name="diagnosis", kind="classes", names=("a", "b"))
    logits = torch.tensor([[1.0, 0.0], [0.5, 0.2], [3.0, -3.0]], requires_grad=True)
    truth, known = torch.tensor([0, 1, 0]), torch.tensor([True, True, False])
    loss = target_loss(target, logits, truth, known)
    torch.testing.assert_close(loss, F.cross_entropy(logits[:2], truth[:2]))
    loss.backward()
    assert not logits.grad[2].any()
    weights = torch.tensor([0.5, 2.0])
    each = F.cross_entropy(logits[:2], truth[:2], reduction="none")
    weighed = (0.5 * each[0] + 2 * each[1]) / 2.5
    torch.testing.assert_close(target_loss(target, logits, truth, known, class_weights=weights), weighed)


def test_balanced_a_small_structure_counts_as_much_as_all_around_it():
    logits, truth = masks()
    truth[:, 0] = 0
    truth[0, 0, 2, 3] = 1  # one voxel of 84
    every = torch.ones(2, 2, dtype=torch.bool)
    gradients = []
    for balanced in (False, True):
        logits.grad = None
        structures_loss(logits, truth, every, balanced=balanced).backward()
        gradients.append(logits.grad[0, 0, 2, 3].abs().item())
    assert gradients[1] > 5 * gradients[0]


def test_balanced_and_equal_are_the_same_where_half_is_inside():
    logits, truth = masks()
    truth[:] = 0
    truth[..., :3, :] = 1  # 3 of 6 rows
    every = torch.ones(2, 2, dtype=torch.bool)
    plain, balanced = (structures_loss(logits, truth, every, balanced=b) for b in (False, True))
    torch.testing.assert_close(plain, balanced)
