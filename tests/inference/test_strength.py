"""The strength that is chosen by the noise of the result."""

import numpy as np
import pytest
import torch
from torch import nn

from medley.errors import MedleyError
from medley.inference.noise import NoiseCurve
from medley.inference.restorer import Restorer
from medley.models.weights import Description
from medley.volume import Volume

AFFINE = np.diag([3.0, 1.0, 1.0, 1.0])


class Mean(nn.Module):
    """The mean of 3 x 3 pixels: of white noise, a third is left. Counts the slices it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.slices = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.slices += len(x)
        return nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def restorer(network: nn.Module, training: dict | None = None, name: str = "test") -> Restorer:
    tasks = ("mr-sr", "ct-denoise", "pet-denoise")
    return Restorer(network, Description(name, "tat", {}, tasks, training or {}, "0"))


def water(std: float, slices: int = 12) -> Volume:
    data = np.random.default_rng(0).normal(40, std, (slices, 96, 96)).astype(np.float32)
    return Volume(data, AFFINE, "CT", "HU")


def noise_of(restorer: Restorer, before: Volume, after: Volume) -> float:
    """The noise of a result in HU, of all slices."""
    plan = restorer.plan(before)
    curve = NoiseCurve(plan.task, plan.normalisation, before.spacing)
    for pair in zip(np.asarray(before.data), np.asarray(after.data), strict=True):
        curve.add(*pair)
    return float(curve.levels([1])[0])


@pytest.mark.parametrize("wanted", [18.0, 12.0, 8.0])
def test_the_result_has_the_wanted_noise(wanted: float) -> None:
    made, scan = restorer(Mean()), water(20)
    plan = made.plan(scan, target_noise=wanted)
    result = made.carry_out(plan).load()
    assert plan.match.note == ""
    assert plan.match.before == pytest.approx(20, rel=0.05)
    assert plan.match.after == pytest.approx(wanted, rel=0.01)
    assert noise_of(made, scan, result) == pytest.approx(wanted, rel=0.03)


def test_less_noise_needs_more_strength() -> None:
    strengths = [restorer(Mean()).plan(water(20), target_noise=wanted).strength for wanted in (18, 14, 10, 8)]
    assert strengths == sorted(strengths)
    assert 0 < strengths[0] < strengths[-1] < 1


def test_auto_brings_the_noise_to_that_of_the_training_targets() -> None:
    made = restorer(Mean(), {"target_noise": {"ct-denoise": 10.0}})
    result = made.restore(water(20), strength="auto")
    assert noise_of(made, water(20), result) == pytest.approx(10, rel=0.03)


def test_auto_leaves_a_clean_scan_as_it_is_without_running_the_network() -> None:
    network = Mean()
    made = restorer(network, {"target_noise": {"ct-denoise": 10.0}})
    plan = made.plan(water(8), strength="auto")
    np.testing.assert_array_equal(made.carry_out(plan).load().data, water(8).data)
    assert (plan.strength, network.slices) == (0, 0)
    assert "the scan is left as it is" in plan.match.note


def test_no_slice_goes_through_the_network_twice_and_the_result_is_that_of_the_same_fixed_strength() -> None:
    network = Mean()
    plan = restorer(network).plan(water(20), target_noise=12)
    result = restorer(network).carry_out(plan).load()
    assert network.slices == 12
    np.testing.assert_array_equal(result.data, restorer(Mean()).restore(water(20), strength=plan.strength).data)


def test_noise_that_the_network_cannot_reach_is_reported_with_what_is_left() -> None:
    plan = restorer(Mean()).plan(water(20), target_noise=2)
    assert plan.strength == 1
    assert plan.match.full == plan.match.after
    assert 20 / 3 * 0.7 < plan.match.full < 20 / 3  # the noise of the mean is correlated, so not all of it is found
    assert f"a noise of 2 HU is wanted, but {plan.match.full:.3g} is left at full strength" in plan.match.note


def test_a_scan_without_homogeneous_regions_is_restored_fully_with_a_note() -> None:
    small = water(20, 1).with_data(water(20, 1).data[:, :16, :16])
    plan = restorer(Mean()).plan(small, target_noise=5)
    assert (plan.strength, plan.match.before) == (1, None)
    assert "too few homogeneous regions" in plan.match.note


def test_auto_is_full_strength_for_super_resolution() -> None:
    scan = Volume(np.abs(water(20).data), AFFINE, "MR", "a.u.")
    plan = restorer(Mean()).plan(scan, strength="auto")
    assert (plan.strength, plan.match.wanted) == (1, None)
    assert "full strength for mr-sr" in plan.match.note


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": "auto"}, "test does not state the noise of its training targets for ct-denoise"),
        ({"strength": 0.5, "target_noise": 10}, "give a strength or a target noise, not both"),
        ({"target_noise": -1}, "the target noise must be above 0 HU, but is -1"),
        ({"strength": "much"}, 'strength must lie between 0 and 1, or be "auto", but is much'),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(MedleyError) as error:
        restorer(Mean()).plan(water(20), **options)
    assert message in str(error.value)
