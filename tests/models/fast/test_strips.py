import pytest
import torch

from medley.models.fast._depthwise import mix_depthwise
from medley.models.fast._strips import added, joined, pieces, rows_at_once, strips


@pytest.mark.parametrize("rows", [[9], [4, 5], [1, 1, 3, 4]])
@pytest.mark.parametrize("grad", [True, False])
def test_concatenated_strips_are_the_map(rows, grad):
    x, weight, kernel = torch.randn(9, 7, 2, 4), torch.randn(4, 4), torch.randn(2, 4, 1, 3, 3)
    whole = mix_depthwise(x, weight, kernel)
    with torch.set_grad_enabled(grad):
        parts = [mix_depthwise(strip, weight, kernel)[kept] for strip, kept in strips(x, rows)]
        torch.testing.assert_close(joined(iter(parts), 9), whole, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(added(x.clone(), iter(parts)), x + whole, rtol=1e-4, atol=1e-5)


def test_only_without_gradients_the_input_is_overwritten():
    x = torch.zeros(3, 2, 1, 1)
    added(x, iter([torch.ones(3, 2, 1, 1)]))
    assert x.sum() == 0
    with torch.no_grad():
        assert added(x, iter([torch.ones(3, 2, 1, 1)])) is x
    assert x.sum() == 6


@pytest.mark.parametrize(("length", "most"), [(10, 10), (10, 3), (7, 20), (5, 1)])
def test_pieces_are_few_and_of_similar_length(length, most):
    found = pieces(length, most)
    assert sum(found) == length
    assert len(found) == -(-length // most)
    assert max(found) <= most
    assert max(found) - min(found) <= 1


def test_all_rows_at_once_with_gradients():
    x = torch.empty(4000, 100, 1, 16)
    assert rows_at_once(x, 256) == 4000
    with torch.no_grad():
        assert 8 <= rows_at_once(x, 256) < 4000
