"""What is counted for the floor is what the networks compute."""

import pytest
import torch
from benchmarks.floor import Rates, Work, work_of
from torch import nn

from medley.models.fast import textbook
from medley.models.zoo import create_model


def test_work_of_a_convolution():
    """9 products and sums for each of 3 · 5 pairs of channels; image, kernel and answer are touched once."""
    work = work_of(nn.Conv2d(3, 5, 3, padding=1, bias=False), 8, channels=3)
    assert work.operations == 2 * 9 * 3 * 5 * 64
    assert work.numbers == 3 * 64 + 9 * 3 * 5 + 5 * 64


def test_the_floor_is_the_slower_of_products_and_copies():
    rates = Rates(operations=1e9, bytes=1e8, size=2)
    assert Work(operations=3 * 10**9, numbers=10**6).floor(rates) == 3
    assert Work(operations=10**6, numbers=3 * 10**8).floor(rates) == 6


@pytest.mark.parametrize("name", ["restormer", "tat", "amir"])
def test_the_fast_form_hides_no_operations_from_the_counter(name):
    """A little more (all heads in one product) or less (folded projections); far less would be work not counted."""
    torch.manual_seed(0)
    model = create_model(name, dim=16, blocks=(1, 1, 1, 1), refinement=1)
    fast, slow = work_of(model, 64), work_of(textbook(model), 64)
    assert 0.9 * slow.operations < fast.operations < 1.1 * slow.operations
    assert 0.8 * slow.numbers < fast.numbers < 1.2 * slow.numbers
