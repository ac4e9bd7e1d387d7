"""The test of what a restoration changed: regions, hot spots, shifts."""

import json

import numpy as np
import pytest

from medley.inference.plan import RestorationPlan
from medley.inference.residual import APART_MM, MOST, ResidualTest, summary
from medley.normalisation import Normalisation
from medley.tasks import task_named
from medley.volume import Volume

AFFINE = np.array([[0, 0, -1.0, 90], [0, -1.0, 0, 80], [3, 0, 0, -50], [0, 0, 0, 1]], float)


def examined(task: str, before: np.ndarray, after: np.ndarray, **options) -> ResidualTest:
    of = task_named(task)
    scale = Normalisation(0, 1000, clip=False) if of.scaled else Normalisation(*of.range)
    plan = RestorationPlan(Volume(before, AFFINE, of.modality, of.unit), of, scale, **options)
    test = ResidualTest(plan)
    for k, pair in enumerate(zip(before, after, strict=True)):
        test(k, *pair)
    return test


def water(slices: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A CT of water with noise of 20 HU, and without."""
    clean = np.full((slices, 128, 128), 40, np.float32)
    return clean + np.random.default_rng(seed).normal(0, 20, clean.shape).astype(np.float32), clean


def test_removed_noise_is_not_suspicious() -> None:
    test = examined("ct-denoise", *water())
    assert summary(test.regions) == "nothing suspicious found in what was removed"
    record = test.record()
    assert record["regions"] == []
    assert abs(record["shift"]["soft tissue"]) < 1


def test_a_removed_lesion_is_one_region_with_its_place_and_close_ups() -> None:
    before, after = water()
    before[1:, 58:66, 96:104] += 60
    test = examined("ct-denoise", before, after)
    (region,) = test.regions
    assert region.kind == "removed"
    assert region.slice in (1, 2)
    assert np.hypot(region.row - 61.5, region.column - 99.5) < 3
    np.testing.assert_allclose(region.position, AFFINE[:3] @ (region.slice, region.row, region.column, 1))
    assert region.change < -30
    assert [crop.shape for crop in region.crops] == [(48, 48), (48, 48)]
    (stored,) = json.loads(json.dumps(test.record()))["regions"]
    assert (stored["number"], stored["kind"]) == (1, "removed")
    assert "crops" not in stored
    assert summary(test.regions) == "regions to look at: 1 removed"


def test_an_invented_lesion_is_added() -> None:
    before, after = water()
    after = after.copy()
    after[1, 40:48, 40:48] += 60
    (region,) = examined("ct-denoise", before, after).regions
    assert (region.kind, region.slice) == ("added", 1)


def test_regions_are_few_and_apart() -> None:
    before, after = water(4)
    for row in range(8, 120, 16):
        for column in range(8, 120, 16):
            before[:, row : row + 5, column : column + 5] += 200
    regions = examined("ct-denoise", before, after).regions
    assert len(regions) == MOST
    places = np.array([one.position for one in regions])
    distances = np.linalg.norm(places[:, None] - places, axis=2)
    assert distances[~np.eye(len(places), dtype=bool)].min() >= APART_MM
    assert [one.score for one in regions] == sorted((one.score for one in regions), reverse=True)


@pytest.mark.parametrize(("kept", "kinds"), [(0.5, {"hot spot lost"}), (0.9, set()), (2.0, {"hot spot created"})])
def test_hot_spots_that_are_lost_or_created_are_flagged(kept: float, kinds: set[str]) -> None:
    rng = np.random.default_rng(0)
    before = np.full((3, 64, 64), 1.0, np.float32) + rng.normal(0, 0.01, (3, 64, 64)).astype(np.float32)
    after = np.full((3, 64, 64), 1.0, np.float32)
    rows, columns = np.mgrid[:64, :64]
    spot = np.exp(-((rows - 30) ** 2 + (columns - 20) ** 2) / 8)
    before[1] += 4 * spot
    after[1] += 4 * kept * spot
    found = {one.kind for one in examined("pet-denoise", before, after).regions}
    assert {kind for kind in found if kind.startswith("hot")} == kinds


def test_the_change_of_measured_k_space_is_stated_for_mr() -> None:
    before = 500 + np.random.default_rng(0).normal(0, 20, (2, 64, 64)).astype(np.float32)
    found = examined("mr-sr", before, before + 5, measured=(32, 32)).record()["measured_change"]
    assert found == pytest.approx(0.01, rel=0.1)
    assert examined("mr-sr", before, before + 5).record()["measured_change"] is None


def test_an_unchanged_scan_has_no_measures() -> None:
    before, _ = water()
    assert examined("ct-denoise", before, before).record() == {
        "edge_loss": None, "shift": {}, "measured_change": None, "regions": [],
    }  # fmt: skip
