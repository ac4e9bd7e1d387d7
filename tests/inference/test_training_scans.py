"""Scans that differ from all training scans are recognised, and what differs is named."""

import json

import numpy as np
import pytest

from medley.errors import MedleyError, MedleyNotice
from medley.inference.restorer import Restorer
from medley.inference.training_scans import (
    FALSE_ALARMS,
    RestorableScans,
    Stored,
    TrainingScans,
    described_scans,
)
from medley.models.weights import Description
from medley.tasks import TASKS
from medley.volume import Slices, Volume

CT = TASKS["ct-denoise"]
NAMES = ("pixel", "noise", "middle", "slice_correlation")


def sample(rng: np.random.Generator, count: int) -> np.ndarray:
    """Plausible features of `count` CT scans."""
    return np.stack(
        [
            rng.uniform(0.5, 1.4, count),
            np.exp(rng.normal(2.5, 0.3, count)),
            rng.normal(30, 10, count),
            rng.uniform(0.8, 0.95, count),
        ],
        axis=1,
    )


def trained(values: np.ndarray, subjects: list[int] | None = None, names: tuple[str, ...] = NAMES) -> TrainingScans:
    subjects = list(range(len(values))) if subjects is None else subjects
    return TrainingScans(Stored(features=names, scans=values.tolist(), subjects=subjects), CT)


@pytest.fixture
def scans() -> TrainingScans:
    return trained(sample(np.random.default_rng(0), 40))


def named(values: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, map(float, values), strict=True))


def test_a_training_scan_is_like_itself(scans) -> None:
    likeness = scans.compare(named(scans.values[3]))
    assert (likeness.alike, likeness.distance, likeness.differences) == (True, 0, ())


def test_what_differs_is_named_with_unit_and_range(scans) -> None:
    usual = {"noise": 12.0, "middle": 30.0, "slice_correlation": 0.9}
    likeness = scans.compare({**usual, "pixel": 5.1})
    assert not likeness.alike
    low, high = scans.values[:, 0].min(), scans.values[:, 0].max()
    assert likeness.sentence("slab") == (
        f"unlike the training scans of slab: pixel size 5.1 mm (trained: {low:.3g} to {high:.3g} mm)"
    )


def test_the_largest_difference_is_named_first(scans) -> None:
    likeness = scans.compare({"pixel": 2.5, "noise": 9000.0, "middle": 30.0, "slice_correlation": 0.9})
    assert [one.words for one in likeness.differences] == ["noise", "pixel size"]
    assert "9,000 HU" in str(likeness.differences[0])


def test_a_combination_that_no_training_scan_has_is_recognised() -> None:
    rng = np.random.default_rng(0)
    pixel = np.exp(rng.uniform(-1, 1, 60))
    noise = 20 / pixel  # fine pixels are noisy
    both = np.stack([pixel, noise], axis=1)
    scans = trained(both, names=("pixel", "noise"))
    likeness = scans.compare({"pixel": float(pixel.min()), "noise": float(noise.min())})
    assert not likeness.alike
    assert "of which none has this combination: " in likeness.sentence("x")


def test_the_limit_is_found_by_leaving_out_subjects_not_scans() -> None:
    values = sample(np.random.default_rng(1), 12)
    twice = np.concatenate([values, values])
    subjects = [*range(12), *range(12)]
    assert trained(twice, subjects).limit == pytest.approx(trained(values).limit)
    assert trained(twice).limit == 0  # every scan has a copy in another subject


def test_new_scans_of_the_same_kind_are_rarely_reported() -> None:
    rng = np.random.default_rng(2)
    reported = [
        not scans.compare(named(one)).alike
        for scans in (trained(sample(rng, 60)) for _ in range(20))
        for one in sample(rng, 50)
    ]
    assert 0 < np.mean(reported) < 1.5 * FALSE_ALARMS


def test_a_feature_that_one_side_lacks_is_left_out(scans) -> None:
    some = {"noise": 12.0, "middle": 30.0}
    assert scans.compare(some).alike
    assert scans.compare({**some, "unheard of": 1.0}).distance == scans.compare(some).distance


def test_a_scan_without_any_feature_is_unlike(scans) -> None:
    likeness = scans.compare({})
    assert not likeness.alike
    assert "nothing in it to compare" in likeness.sentence("x")
    assert json.loads(json.dumps(likeness.record(), allow_nan=False))["distance"] is None


def test_a_missing_value_of_a_training_scan_is_left_out() -> None:
    values = sample(np.random.default_rng(0), 20).tolist()
    values[0][3] = None
    scans = TrainingScans(Stored(features=NAMES, scans=values, subjects=range(20)), CT)
    assert scans.compare(dict(zip(NAMES[:3], values[0][:3], strict=True))).distance == 0


def description(stored: object) -> Description:
    return Description("made", "tat", {}, ("ct-denoise",), {}, "0", training_scans={"ct-denoise": stored})


@pytest.mark.parametrize(
    "stored",
    [
        "text",
        {"features": ["pixel"], "scans": [[1.0], [2.0]]},
        {"features": ["pixel"], "scans": [[1.0], [2.0]], "subjects": [0]},
        {"features": ["pixel"], "scans": [[1.0, 2.0], [2.0, 3.0]], "subjects": [0, 1]},
        {"features": ["pixel"], "scans": [[1.0], [2.0]], "subjects": [0, 0]},
        {"features": ["of a newer medley"], "scans": [[1.0], [2.0]], "subjects": [0, 1]},
        {"features": ["pixel"], "scans": [["wide"], [2.0]], "subjects": [0, 1]},
        {"features": [], "scans": [], "subjects": []},
    ],
)
def test_a_damaged_description_is_one_sentence(stored) -> None:
    with pytest.raises(MedleyError, match=r"the training scans in the description of made are damaged: .+"):
        described_scans(description(stored), CT)


def test_weights_without_a_description_are_not_compared() -> None:
    assert described_scans(Description("made", "tat", {}, ("ct-denoise",), {}, "0"), CT) is None


def volume(pixel: float = 0.9, shape: tuple[int, int, int] = (6, 40, 40), seed: int = 0) -> Volume:
    """A cylinder in air, with noise; read slice by slice."""
    row, column = np.mgrid[: shape[1], : shape[2]] - (shape[1] - 1) / 2
    values = np.where(np.hypot(row, column) < 0.4 * shape[1], 40.0, -1000.0)
    noisy = values + np.random.default_rng(seed).normal(0, 15, shape)
    affine = np.diag([-pixel, -pixel, 3.0, 1.0])[:, [2, 1, 0, 3]]
    return Volume(Slices(shape, lambda: iter(noisy.astype(np.float32))), affine, "CT", "HU")


@pytest.fixture
def described() -> Description:
    """A description of twelve such volumes."""
    bare = description({"features": list(NAMES), "scans": [[1] * 4, [2] * 4], "subjects": [0, 1]})
    features = [features_of(volume(0.8 + 0.02 * k, seed=k)) for k in range(12)]
    stored = {
        "features": list(features[0]),
        "scans": [list(one.values()) for one in features],
        "subjects": list(range(12)),
    }
    return Description(bare.name, "tat", {}, ("ct-denoise",), {}, "0", training_scans={"ct-denoise": stored})


def features_of(scan: Volume) -> dict[str, float]:
    from medley.metrics.features import compared_slices, scan_features

    data = np.asarray(scan.data)
    return scan_features({k: data[k] for k in compared_slices(len(data))}, scan.spacing, CT, CT.range[1])


def test_a_streamed_scan_is_compared_like_one_in_memory(described) -> None:
    scans, streamed = RestorableScans(described), volume(0.95, seed=99)
    found = scans.compare(streamed, CT, CT.range[1])
    assert found == scans.compare(streamed.load(), CT, CT.range[1])
    assert found is not None
    assert found.alike


def restorer(stated: Description) -> Restorer:
    import torch

    return Restorer(torch.nn.Identity(), stated)


def test_a_restorer_reports_and_goes_on(described) -> None:
    with pytest.warns(
        MedleyNotice, match=r"^unlike the training scans of made: pixel size 9 mm \(trained: 0\.8 to 1\.02"
    ):
        restored = restorer(described).restore(volume(9.0))
    assert restored.shape == (6, 40, 40)


@pytest.mark.filterwarnings("error::medley.errors.MedleyNotice")
def test_a_restorer_says_nothing_about_a_usual_scan(described) -> None:
    plan = restorer(described).plan(volume(0.9, seed=50))
    assert plan.likeness is not None
    assert plan.likeness.alike
    restorer(described).restore(volume(0.9, seed=50))


def test_a_scan_too_small_for_statistics_is_restored_with_a_notice(described) -> None:
    with pytest.warns(MedleyNotice, match="too small to compare"):
        plan = restorer(described).plan(volume(shape=(6, 12, 12)))
    assert plan.likeness is None
