import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from medley.models.fast._gradients import Correlation, GatedProjection

SHAPES = [(7, 5, 2, 3), (4, 9, 1, 16)]  # (H, W, B, C)


def doubles(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_finite_differences(shape):
    gate, value, weight = doubles(*shape), doubles(*shape), doubles(4, shape[3])
    assert gradcheck(GatedProjection.apply, (gate, value, weight))
    assert gradcheck(Correlation.apply, (doubles(12, *shape[2:]), doubles(12, *shape[2:])))


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
def test_under_autocast_they_are_those_of_the_definition(precision, tolerance):
    gate, value, weight = torch.randn(6, 5, 2, 8), torch.randn(6, 5, 2, 8), torch.randn(4, 8)

    def definition(gate, value, weight):
        return F.linear(F.gelu(gate) * value, weight)

    found = []
    for function in (definition, GatedProjection.apply):
        tensors = [one.clone().requires_grad_() for one in (gate, value, weight)]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
            answer = function(tensors[0].to(precision), tensors[1].to(precision), tensors[2])
        assert answer.dtype is precision
        answer.float().square().sum().backward()
        found.append([answer.float(), *(one.grad for one in tensors)])
    for expected, got in zip(*found, strict=True):
        assert got.dtype is torch.float32
        assert (got - expected).norm() <= tolerance * expected.norm()


def test_sums_over_pixels_are_taken_in_float32():
    q = torch.randn(4000, 1, 8).bfloat16().requires_grad_()
    products, squares, _ = Correlation.apply(q, q)
    assert products.dtype is squares.dtype is torch.float32
    torch.testing.assert_close(products[0].diagonal(), squares[0], rtol=1e-4, atol=0)
    products.sum().backward()
    assert q.grad.dtype is torch.bfloat16
