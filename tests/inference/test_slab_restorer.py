"""Restorers of slabs: neighbours in the right order, values above the range, one slice, windows."""

import numpy as np
import pytest
import torch
from torch import nn

from medley.errors import MedleyError
from medley.inference.restorer import Restorer
from medley.models.weights import Description
from medley.normalisation import Normalisation
from medley.slabs import slabs_of
from medley.tasks import TASKS
from medley.volume import Slices, Volume

AFFINE = np.diag([5.0, 0.8, 0.8, 1.0])
ORDER = ("pet-denoise", "ct-denoise", "mr-sr")


class Stub(nn.Module):
    """A network of slabs that computes `function(slabs)`, and keeps its inputs."""

    def __init__(self, function, reach: int = 1) -> None:
        super().__init__()
        self.config = {"reach": reach, "tasks": list(ORDER), "dim": 4}
        self.function, self.seen = function, []

    def forward(self, slabs: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        self.seen.append((slabs.clone(), conditions.clone()))
        return self.function(slabs)


def restorer(function, reach: int = 1) -> tuple[Restorer, Stub]:
    network = Stub(function, reach)
    description = Description("stub", "slab", network.config, tuple(TASKS), {}, "0")
    return Restorer(network, description), network


def scan(count: int = 6, modality: str = "CT", high: float = 1500.0) -> Volume:
    values = np.random.default_rng(0).uniform(-900 if modality == "CT" else 0, high, (count, 24, 20))
    return Volume(values.astype(np.float32), AFFINE, modality, {"CT": "HU", "PT": "SUV", "MR": "a.u."}[modality])


def middle(slabs: torch.Tensor) -> torch.Tensor:
    return slabs[:, slabs.shape[1] // 2][:, None]


@pytest.mark.parametrize("streamed", [False, True])
def test_the_mean_of_three_slices(streamed):
    volume = scan()
    expected = np.stack([volume.data[[max(k - 1, 0), k, min(k + 1, 5)]].mean(axis=0) for k in range(6)])
    model, network = restorer(lambda slabs: slabs.mean(dim=1, keepdim=True))
    source = volume.with_data(Slices(volume.shape, lambda: iter(volume.data))) if streamed else volume
    np.testing.assert_allclose(model.restore(source).data, expected, atol=0.01)
    (_, conditions), *_ = network.seen
    np.testing.assert_array_equal(conditions[:, :3], [[0, 1, 0]] * len(conditions))
    assert conditions[0, 5] == 0  # nothing before the first slice
    assert conditions[0, 6] == pytest.approx(np.log2(6))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_result_does_not_depend_on_the_number_of_slices_at_a_time(monkeypatch, size):
    volume = scan()
    model, _ = restorer(lambda slabs: slabs.mean(dim=1, keepdim=True) ** 2)
    expected = model.restore(volume).data
    monkeypatch.setattr(Restorer, "_batch", lambda *_: size)
    np.testing.assert_array_equal(model.restore(volume).data, expected)


def test_a_single_slice_is_its_own_neighbour():
    volume = scan(1)
    model, network = restorer(lambda slabs: slabs.mean(dim=1, keepdim=True))
    np.testing.assert_allclose(model.restore(volume).data, volume.data, atol=0.01)
    assert not network.seen[0][1][:, 5:7].any()


def test_slices_without_spacing_are_restored_alone():
    volume = scan()
    model, _ = restorer(lambda slabs: slabs.mean(dim=1, keepdim=True))
    normalisation = TASKS["ct-denoise"].normalisation
    np.testing.assert_allclose(model.restore_slices(volume.data, "ct-denoise", normalisation), volume.data, atol=0.01)
    slabs = slabs_of(volume.data, range(6), 1, volume.spacing)
    together = model.restore_slabs(slabs, "ct-denoise", normalisation)
    np.testing.assert_allclose(together, model.restore(volume).data, atol=0.01)


@pytest.mark.parametrize(("modality", "high"), [("PT", 90.0), ("CT", 8000.0), ("MR", 900.0)])
def test_values_above_the_range_are_restored_like_their_neighbours(modality, high):
    volume = scan(modality=modality, high=high)
    same, network = restorer(middle)
    np.testing.assert_allclose(same.restore(volume).data, volume.data, rtol=1e-4, atol=0.02)
    assert network.seen[0][0].max() < 1 + np.log(10)
    darker, _ = restorer(lambda slabs: 0.9 * middle(slabs))
    restored = darker.restore(volume).data
    bright = volume.data > (0.5 * high)
    assert (restored[bright] < 0.97 * volume.data[bright]).all()


def test_padding_below_the_range_is_unchanged():
    volume = scan()
    volume.data[:, :4] = -2000
    darker, _ = restorer(lambda slabs: middle(slabs) - 0.8)
    restored = darker.restore(volume).data
    assert (restored[:, :4] == -2000).all()
    assert (restored[:, 4:] == -1024).all()


def test_windows_give_the_same_where_the_network_is_local():
    volume = scan()
    model, _ = restorer(lambda slabs: slabs.mean(dim=1, keepdim=True))
    slabs = slabs_of(volume.data, range(6), 1, volume.spacing)
    normalisation = Normalisation(-1024, 3071)
    whole = model.restore_slabs(slabs, "ct-denoise", normalisation)
    windows = model.restore_slabs(slabs, "ct-denoise", normalisation, window=128)
    np.testing.assert_allclose(windows, whole, atol=0.01)


def test_the_noise_can_be_given():
    volume = scan()
    estimated, given = ([], [])
    for noise, conditions in ((None, estimated), (50.0, given)):
        model, network = restorer(middle)
        model.restore(volume, noise=noise)
        conditions += [one for _, one in network.seen]
    np.testing.assert_allclose(given[0][:, 3], np.log10(50 / 4095) + 2, atol=1e-5)
    ratio = [one[0][:, 4] - one[0][:, 3] for one in (estimated, given)]
    np.testing.assert_allclose(ratio[0], ratio[1], atol=1e-5)
    np.testing.assert_array_equal(estimated[0][:, 5:], given[0][:, 5:])


def test_a_noise_that_cannot_be_used_is_refused():
    with pytest.raises(MedleyError, match="the noise must be above 0, but is -1"):
        restorer(middle)[0].restore(scan(), noise=-1.0)
    plain = Restorer(nn.Identity(), Description("plain", "tat", {}, tuple(TASKS), {}, "0"))
    with pytest.raises(MedleyError, match="plain does not use the noise of a scan"):
        plain.restore(scan(), noise=10.0)
