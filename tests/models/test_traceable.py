"""The form for export is the network itself: same weights, same answer, at any size and batch."""

import pytest
import torch

from medley.models._traceable import Windows, traceable
from medley.models.attention import windows
from medley.models.zoo import create_model

SMALL = {"dim": 4, "blocks": (1, 1, 1, 1), "refinement": 1}


def network(name, **config):
    """A small network whose every part does something."""
    torch.manual_seed(0)
    extra = {"generator_width": 4, "window": 32} if name == "tat" else {}
    model = create_model(name, **(SMALL | extra | config))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith(("strength", "gamma", "beta", "temperature", "bias")):
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 17, 35), (2, 57, 100), (1, 33, 131)], ids=str)
@pytest.mark.parametrize("name", ["restormer", "tat", "amir", "unih3"])
def test_it_gives_what_the_network_gives(name, shape):
    model, image = network(name), torch.rand(shape[0], 1, *shape[1:], generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, found = model(image), traceable(model)(image)
    assert (expected - image).norm() > 0.05 * image.norm()
    assert (found - expected).norm() < 1e-5 * (expected - image).norm()


@pytest.mark.parametrize("name", ["restormer", "tat", "amir", "unih3"])
def test_it_shares_the_weights_and_leaves_the_network_as_it_was(name):
    model = network(name)
    kinds = [type(module) for module in model.modules()]
    form = traceable(model)
    assert [type(module) for module in model.modules()] == kinds
    shared = {id(parameter) for parameter in form.parameters()}
    others = [key for key, parameter in model.named_parameters() if id(parameter) not in shared]
    assert all(key.endswith(".noise") for key in others)  # of AMIR's routers, for training only
    assert shared <= {id(parameter) for parameter in model.parameters()}


@pytest.mark.parametrize(("length", "window"), [(5, 8), (8, 8), (9, 8), (16, 8), (17, 8), (41, 8), (100, 7), (30, 1)])
def test_windows_are_those_of_the_network_and_their_mean_is_the_mean_of_all_that_overlap(length, window):
    line = torch.arange(length, dtype=torch.float64)[None]
    spans, cut = list(windows(length, window)), Windows(length, window, line.device)
    parts = cut.cut(line, 1)  # (1, windows, side)
    torch.testing.assert_close(parts, torch.stack([line[:, span] for span in spans], 1))
    weights = torch.rand(len(spans), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    total, times = torch.zeros(length, dtype=torch.float64), torch.zeros(length)
    for span, weight in zip(spans, weights, strict=True):
        total[span] += weight * line[0, span]
        times[span] += 1
    torch.testing.assert_close(cut.join(parts * weights[:, None], 1)[0], total / times)


def test_no_pixel_lies_in_more_than_two_windows():
    for window in range(1, 40):
        for length in range(1, 9 * window):
            spans = list(windows(length, window))
            assert all(later.start >= first.stop for first, later in zip(spans, spans[2:], strict=False))
