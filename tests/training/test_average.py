from itertools import pairwise

import pytest
import torch
from torch import nn

from medley.training.average import averaged


def averages(decay, warmup, steps):
    """The average after each step, when the weight is 1, 2, 3 ... after the steps."""
    network = nn.Linear(1, 1, bias=False)
    average = averaged(network, decay, warmup=warmup)
    found = []
    for step in range(1, steps + 1):
        nn.init.constant_(network.weight, step)
        average.update_parameters(network)
        found.append(average.module.weight.item())
    return found


def test_the_first_update_copies_and_the_others_have_the_decay():
    assert averages(0.75, False, 3) == pytest.approx([1, 1.25, 0.75 * 1.25 + 0.25 * 3])


def test_with_warm_up_the_decay_rises_to_its_limit():
    """The decays of steps 2 to 7 are those that ema_pytorch 0.8.3 has with its default power, to four digits."""
    found = averages(0.7, True, 9)
    decays = [(new - k) / (old - k) for k, (old, new) in enumerate(pairwise(found), start=2)]
    assert decays == pytest.approx([0.37, 0.5193, 0.6031, 0.658, 0.6971, 0.7, 0.7, 0.7], abs=5e-5)


def test_what_has_no_gradient_is_averaged_and_buffers_are_copied():
    network = nn.Module()
    network.store = nn.Parameter(torch.zeros(2), requires_grad=False)
    network.register_buffer("filled", torch.zeros(2, dtype=torch.bool))
    average = averaged(network, 0.5)
    average.update_parameters(network)
    network.store.add_(1)
    network.filled.logical_not_()
    average.update_parameters(network)
    assert average.module.store.tolist() == [0.5, 0.5]
    assert average.module.filled.all()
