"""Laws of the dose scores, facts that can be worked out by hand, and the challenge's definition done again, plainly."""

import numpy as np
import pytest

from medley.metrics.dose import dose_score, dvh_curve, dvh_differences, dvh_metrics, is_target

BITS = ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible",
        "PTV56", "PTV63", "PTV70")  # fmt: skip


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def made(rng):
    """Dose, another one, the region and two structures of a made patient, 12 x 10 x 8."""
    shape = (12, 10, 8)
    possible = np.zeros(shape, bool)
    possible[1:-1, 1:-1, 1:-1] = True
    truth, predicted = (np.where(possible, rng.uniform(0, 70, shape), 0) for _ in range(2))
    masks = {"PTV70": np.zeros(shape, bool), "Larynx": np.zeros(shape, bool), "Mandible": np.zeros(shape, bool)}
    masks["PTV70"][3:6, 3:7, 2:6] = True
    masks["Larynx"][6:9, 2:8, 2:7] = True
    return truth, predicted, possible, masks


def test_truth_against_itself_is_perfect(made):
    truth, _, possible, masks = made
    assert dose_score(truth, truth, possible) == 0
    assert set(dvh_differences(truth, truth, masks, (2, 3, 3)).values()) == {0.0}


def test_inside_the_region_the_scores_are_symmetric(made):
    truth, predicted, possible, masks = made
    assert dose_score(truth, predicted, possible) == pytest.approx(dose_score(predicted, truth, possible))
    one, two = dvh_differences(truth, predicted, masks, (2, 3, 3)), dvh_differences(predicted, truth, masks, (2, 3, 3))
    assert one == pytest.approx(two)


def test_where_the_voxels_lie_does_not_matter(made, rng):
    truth, predicted, possible, masks = made
    order = rng.permutation(truth.size)

    def shuffled(array):
        return array.ravel()[order].reshape(truth.shape)

    assert dose_score(shuffled(truth), shuffled(predicted), shuffled(possible)) == pytest.approx(
        dose_score(truth, predicted, possible)
    )
    moved = {name: shuffled(mask) for name, mask in masks.items()}
    assert dvh_differences(shuffled(truth), shuffled(predicted), moved, (2, 3, 3)) == pytest.approx(
        dvh_differences(truth, predicted, masks, (2, 3, 3))
    )


def test_a_dose_twice_as_high_has_metrics_twice_as_high(made):
    truth, predicted, possible, masks = made
    assert dose_score(2 * truth, 2 * predicted, possible) == pytest.approx(2 * dose_score(truth, predicted, possible))
    for name, target in (("PTV70", True), ("Larynx", False)):
        once, twice = (dvh_metrics(factor * truth, masks[name], (2, 3, 3), target) for factor in (1, 2))
        assert twice == pytest.approx({metric: 2 * value for metric, value in once.items()})


def test_a_constant_error_is_the_score(made):
    truth, _, possible, masks = made
    predicted = truth + 3  # outside the region too, where it does not count
    assert dose_score(predicted, truth, possible) == pytest.approx(3)
    assert list(dvh_differences(predicted, truth, masks, (2, 3, 3)).values()) == pytest.approx([3] * 5)


def test_dose_of_the_truth_outside_the_region_counts():
    truth, possible = np.ones((2, 2, 2)), np.zeros((2, 2, 2), bool)
    possible[0] = True
    assert dose_score(truth, truth, possible) == 1  # four voxels missed, over four of the region
    assert np.isnan(dose_score(truth, truth, np.zeros((2, 2, 2))))


def test_the_metrics_of_a_ramp_can_be_worked_out():
    dose, mask = np.arange(101.0).reshape(101, 1, 1), np.ones((101, 1, 1))
    assert dvh_metrics(dose, mask, (1, 1, 1), True) == pytest.approx({"D99": 1, "D95": 5, "D1": 99})
    found = dvh_metrics(dose, mask, (2, 1, 5), False)  # voxels of 10 mm3: the ten hottest
    assert found == pytest.approx({"D_0.1cc": 100 - 100 * 10 / 101, "mean": 50})
    at_least_one_voxel = dvh_metrics(dose, mask, (10, 10, 10), False)
    assert at_least_one_voxel["D_0.1cc"] == pytest.approx(100 - 100 / 101)
    assert dvh_metrics(dose, mask, (0.5, 1, 1), False)["D_0.1cc"] == 0  # the whole organ is smaller


def test_a_structure_that_was_not_drawn_drops_out(made):
    truth, predicted, _, masks = made
    assert dvh_metrics(truth, masks["Mandible"], (2, 3, 3), False) == {}
    entries = dvh_differences(predicted, truth, masks, (2, 3, 3))
    assert list(entries) == ["PTV70 D99", "PTV70 D95", "PTV70 D1", "Larynx D_0.1cc", "Larynx mean"]
    assert np.isnan(dvh_curve(truth, masks["Mandible"], np.arange(3))).all()


def test_targets_are_recognised_by_their_names():
    assert [is_target(name) for name in ("PTV70", "ptv_low", "Rectum", "xPTV")] == [True, True, False, False]


def test_the_curve_falls_from_one_to_none(made):
    truth, _, _, masks = made
    curve = dvh_curve(truth, masks["Larynx"], np.linspace(0, 71, 200))
    assert curve[0] == 1
    assert curve[-1] == 0
    assert (np.diff(curve) <= 0).all()
    assert len(np.unique(curve)) > 50


def test_the_metrics_are_read_off_the_curve(made):
    """D_x is the dose at which the curve passes x %, up to one voxel's share."""
    truth, _, _, masks = made
    share = 1 / masks["PTV70"].sum()
    for name, volume in (("D99", 0.99), ("D95", 0.95), ("D1", 0.01)):
        at = dvh_metrics(truth, masks["PTV70"], (1, 1, 1), True)[name]
        assert dvh_curve(truth, masks["PTV70"], np.array([at]))[0] == pytest.approx(volume, abs=share)


def test_shapes_must_fit(made):
    truth, predicted, possible, masks = made
    with pytest.raises(ValueError, match="do not match"):
        dose_score(predicted[1:], truth, possible)
    with pytest.raises(ValueError, match="2 spacings for a mask of 3 axes"):
        dvh_metrics(truth, masks["Larynx"], (1, 1), False)


@pytest.mark.parametrize("folder", ["train", "valid", "test"])
def test_full_size_patients_score_as_the_challenge_says(shared, folder):
    """Against the definition in plain sorting and interpolation, and a constant dose a target, worked out by hand."""
    for path in sorted((shared / "data" / "openkbp" / "full" / folder).glob("pt_*.npz")):
        with np.load(path) as file:
            truth, bits, spacing = file["dose_mgy"] / 1000, file["masks"], file["voxel_dimensions"].astype(float)
        masks = {name: ((bits >> bit) & 1).astype(bool) for bit, name in enumerate(BITS)}
        possible = ((bits >> 10) & 1).astype(bool)
        predicted = np.full(truth.shape, 5.0)
        for name in ("PTV56", "PTV63", "PTV70"):
            predicted[masks[name]] = float(name[3:])

        outside = np.where(possible, predicted, 0)
        assert dose_score(predicted, truth, possible) == pytest.approx(
            np.abs(outside - truth).sum() / np.count_nonzero(possible), rel=1e-12
        )
        drawn = {name: mask for name, mask in masks.items() if mask.any()}
        found = dvh_differences(predicted, truth, masks, spacing)
        assert len(found) == sum(3 if name.startswith("PTV") else 2 for name in drawn)
        for name, mask in drawn.items():
            constant = predicted[mask]
            for metric, value in plain_metrics(truth[mask], spacing, name.startswith("PTV")).items():
                if np.ptp(constant) == 0:  # every percentile and the mean are the constant
                    assert found[f"{name} {metric}"] == pytest.approx(abs(value - constant[0]), abs=1e-9)
                other = plain_metrics(constant, spacing, name.startswith("PTV"))[metric]
                assert found[f"{name} {metric}"] == pytest.approx(abs(value - other), abs=1e-9)
        if drawn.keys() & {"PTV70"}:
            assert np.ptp(predicted[masks["PTV70"]]) == 0  # the case worked out by hand did occur


def plain_metrics(doses, spacing, target):
    def percentile(q):
        ordered = sorted(doses.tolist())
        place = (len(ordered) - 1) * q / 100
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    if target:
        return {"D99": percentile(1), "D95": percentile(5), "D1": percentile(99)}
    voxels = max(1, round(100 / (spacing[0] * spacing[1] * spacing[2])))
    return {"D_0.1cc": percentile(100 - voxels / len(doses) * 100), "mean": sum(doses.tolist()) / len(doses)}
