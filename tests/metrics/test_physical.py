"""Noise, bias, sharpness and uptake: known changes of the target have known measures."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medley.metrics.measures import RECORD
from medley.metrics.physical import Edges, Measurement, Tissue, Uptake, measurements
from medley.tasks import TASKS

FINE, COARSE = (2.0, 0.8, 0.8), (3.0, 4.0, 4.0)  # mm


def measured(measurement: Measurement, restored: np.ndarray, target: np.ndarray, size: int = 100) -> dict[str, float]:
    for first in range(0, len(target), size):
        part = range(first, min(first + size, len(target)))
        measurement.add(restored[part], target[part], part)
    return measurement.values()


def ct() -> np.ndarray:
    """Water with noise of 10 HU, in air."""
    inside = np.hypot(*(np.indices((150, 150)) - 75)) < 60
    noise = np.random.default_rng(0).normal(0, 10, (4, 150, 150))
    return np.where(inside, 30 + noise, -1000).astype(np.float32)


def edge(blur: float = 0.0) -> np.ndarray:
    """A disk of 300 HU above its surroundings, three slices."""
    disk = (np.hypot(*(np.indices((160, 160)) - 79.6)) < 50) * np.float32(300)
    return np.stack([gaussian_filter(disk, blur)] * 3)


def pet() -> np.ndarray:
    """SUV 1 in a cylinder; a spot of SUV 8 through three slices, one of SUV 5, and three hot voxels."""
    scan = np.zeros((6, 60, 60), np.float32)
    scan[:, np.hypot(*(np.indices((60, 60)) - 30)) < 25] = 1
    scan[1:4, 20:24, 20:24] = 8
    scan[4, 40:44, 30:32] = 5
    scan[0, 30, 30:33] = 6
    return scan


def test_noise_and_bias_are_those_that_were_added() -> None:
    target = ct()
    same = measured(Tissue(FINE), target, target)
    assert same["noise"] == pytest.approx(9, rel=0.05)  # of the most homogeneous blocks
    assert (same["noise_ratio"], same["bias"]) == (1, 0)
    noisier = measured(Tissue(FINE), target + np.random.default_rng(1).normal(5, 20, target.shape), target)
    assert noisier["noise"] == pytest.approx(np.hypot(20, same["noise"]), rel=0.03)
    assert noisier["noise_ratio"] == pytest.approx(noisier["noise"] / same["noise"])
    assert noisier["bias"] == pytest.approx(5, abs=0.5)
    assert measured(Tissue(FINE), 0 * target, target)["noise"] == 0


def test_only_soft_tissue_is_measured() -> None:
    target = ct()
    assert measured(Tissue(FINE), np.where(target < -500, target + 300, target), target)["bias"] == 0
    assert measured(Tissue(FINE), target + 2000, target + 2000) == {}


def test_there_is_no_noise_on_coarse_grids() -> None:
    assert set(measured(Tissue(COARSE), ct(), ct())) == {"bias"}


@pytest.mark.parametrize("own", [0.0, 1.0])
@pytest.mark.parametrize("blur", [0.7, 1.5])
def test_a_blur_takes_a_known_part_of_the_sharpness(own: float, blur: float) -> None:
    target = edge(own)
    found = measured(Edges(20, 200), np.stack([gaussian_filter(one, blur) for one in target]), target)
    assert found["sharpness"] == pytest.approx(np.sqrt((1 + own**2) / (1 + own**2 + blur**2)), rel=0.04)


def test_sharpness_is_linear_and_independent_of_added_noise() -> None:
    target = edge(0.5)
    assert measured(Edges(20, 200), target, target)["sharpness"] == 1
    assert measured(Edges(20, 200), 0.6 * target - 40, target)["sharpness"] == pytest.approx(0.6)
    noise = np.random.default_rng(0).normal(0, 30, target.shape)
    assert measured(Edges(20, 200), target + noise, target)["sharpness"] == pytest.approx(1, abs=0.02)


def test_only_edges_between_the_limits_count() -> None:
    assert measured(Edges(150, 200), edge(), edge()) == {}  # 300 HU have a slope of 120 HU a pixel
    assert measured(Edges(20, 90), edge(), edge()) == {}
    few = np.zeros((1, 50, 50), np.float32)
    few[0, 20:23, 20:23] = 300
    assert measured(Edges(20, 200), few, few) == {}


def test_the_sharpness_of_mr_does_not_depend_on_the_scale_of_the_scanner() -> None:
    target = edge()
    blurred = np.stack([gaussian_filter(one, 1) for one in target])
    found = []
    for scale in (1.0, 64.0):
        (edges,) = measurements(TASKS["mr-sr"], FINE, 600 * scale)
        found.append(measured(edges, scale * blurred, scale * target)["sharpness"])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_scaled_suv_has_that_bias_and_recovery() -> None:
    found = measured(Uptake(), 0.9 * pet(), pet())
    assert found == pytest.approx({"suv_bias": -10, "recovery_max": 0.9, "recovery_mean": 0.9}, rel=1e-5)


def test_hot_spots_are_regions_in_three_dimensions_and_count_once() -> None:
    target = pet()
    lower = np.where(target == 8, 4, target)
    lower[2, 20, 20] = 6
    found = measured(Uptake(), lower, target)
    assert found["recovery_max"] == pytest.approx((6 / 8 + 1) / 2)
    assert found["recovery_mean"] == pytest.approx(((4 + 2 / 48) / 8 + 1) / 2)
    assert measured(Uptake(), np.where(target == 6, 0, target), target)["recovery_max"] == 1  # too few voxels


def test_what_lies_outside_of_the_object_is_no_bias() -> None:
    target = pet()
    assert measured(Uptake(), target + (np.hypot(*(np.indices((60, 60)) - 30)) > 29), target)["suv_bias"] == 0
    assert measured(Uptake(), target, 0 * target) == {}


@pytest.mark.parametrize("task", TASKS)
def test_slices_can_be_given_a_few_at_a_time(task: str) -> None:
    target = {"ct-denoise": ct(), "pet-denoise": pet()}.get(task, edge(0.5))
    restored = gaussian_filter(target, (0, 0.6, 0.6))
    whole, parts = (
        {name: value for one in measurements(TASKS[task], FINE, 600) for name, value in
         measured(one, restored, target, size).items()}
        for size in (100, 1)
    )  # fmt: skip
    assert parts == pytest.approx(whole)
    expected = {"ct-denoise": {"noise", "noise_ratio", "bias"}, "mr-sr": {"sharpness"},
                "pet-denoise": {"suv_bias", "recovery_max", "recovery_mean"}}  # fmt: skip
    assert set(whole) == expected.get(task, set())
    assert set(whole) <= RECORD.keys()
