"""The features of a scan follow its values and its geometry in known ways."""

import numpy as np
import pytest

from medley.metrics.features import FEATURES, body_features, compared_slices, photograph_features, scan_features
from medley.tasks import TASKS

CT, MR = TASKS["ct-denoise"], TASKS["mr-sr"]
SPACING = (3.0, 0.8, 0.9)


def disc(shape: tuple[int, int, int] = (12, 64, 64), noise: float = 5.0, seed: int = 0) -> np.ndarray:
    """A cylinder of 40 HU in air, with noise inside; the cylinder becomes wider from slice to slice."""
    row, column = np.mgrid[: shape[1], : shape[2]] - (shape[1] - 1) / 2
    radius = np.hypot(row, column)
    stack = np.stack([np.where(radius < 20 + 0.3 * k, 40.0, -1000.0) for k in range(shape[0])])
    return stack + np.where(stack > 0, np.random.default_rng(seed).normal(0, noise, shape), 0)


def features(values: np.ndarray, task=CT, spacing=SPACING, full_scale: float = 3071.0) -> dict[str, float]:
    slices = {k: values[k].astype(np.float32) for k in compared_slices(len(values))}
    return scan_features(slices, spacing, task, full_scale)


def test_every_feature_is_computed_by_one_function_and_is_finite() -> None:
    scan, photograph = features(disc()), photograph_features(np.random.default_rng(0).uniform(0, 255, (3, 32, 32)))
    body = body_features(disc(), disc() > -500, SPACING)
    assert [*scan, *body, *photograph] == list(FEATURES)
    assert np.isfinite([*scan.values(), *body.values(), *photograph.values()]).all()


@pytest.mark.parametrize("count", [1, 2, 3, 15, 16, 17, 400])
def test_at_most_eight_pairs_of_neighbours_are_measured(count: int) -> None:
    found = compared_slices(count)
    assert found == sorted(set(found))
    assert set(found) <= set(range(count))
    assert len(found) <= 16
    assert count == 1 or all({k - 1, k + 1} & set(found) for k in found)


def test_geometry_and_values_are_in_their_units() -> None:
    found = features(disc())
    assert found["pixel"] == pytest.approx(np.sqrt(0.8 * 0.9))
    assert found["distance"] == 3
    assert found["lowest"] == -1000
    assert found["middle"] == pytest.approx(40, abs=1)


def test_noise_is_measured_in_the_unit_of_the_scan() -> None:
    quiet, loud = features(disc(noise=5)), features(disc(noise=20))
    assert loud["noise"] / quiet["noise"] == pytest.approx(4, rel=0.05)
    assert loud["coarseness"] == pytest.approx(quiet["coarseness"], rel=0.05)


def test_mr_features_do_not_depend_on_the_scale_of_the_scanner() -> None:
    image = disc() + 1000
    one = features(image, MR, full_scale=1050.0)
    other = features(70 * image, MR, full_scale=70 * 1050.0)
    assert one == pytest.approx(other, rel=1e-4)
    assert one["middle"] == pytest.approx(99, abs=1)  # % of the full scale


def test_padding_below_the_range_counts_as_the_lower_end() -> None:
    padded = np.where(disc() < -900, -3024.0, disc())
    assert features(padded)["lowest"] == -1024


def test_one_slice_has_no_distance_and_unknown_spacing_no_pixel_size() -> None:
    found = features(disc()[:1], spacing=())
    assert not {"distance", "slice_correlation", "pixel"} & found.keys()


def test_white_noise_has_no_correlation_and_a_constant_image_has_all() -> None:
    noise = features(np.random.default_rng(0).normal(0, 100, (9, 64, 64)))
    assert abs(noise["pixel_correlation"]) < 0.05
    assert abs(noise["slice_correlation"]) < 0.05
    assert noise["coarseness"] == pytest.approx(0.5, abs=0.05)
    assert features(np.full((9, 64, 64), -1024.0))["pixel_correlation"] == 1


def cylinder(spacing: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """HU and mask of a body of 200 x 120 mm across and 150 mm long, with an air hole of 40 mm."""
    shape = [round(280 / mm) for mm in spacing]
    z, y, x = (np.abs(place) for place in np.meshgrid(*((np.arange(n) - (n - 1) / 2) * mm
               for n, mm in zip(shape, spacing, strict=True)), indexing="ij"))  # fmt: skip
    body = ((y / 60) ** 2 + (x / 100) ** 2 < 1) & (z < 75)
    hu = np.where(body, 30.0, -1000.0)
    hu[body & (np.hypot(y, x) < 20)] = -900
    return hu, body


@pytest.mark.parametrize("spacing", [(3.0, 2.0, 2.0), (5.0, 4.0, 4.0)])
def test_the_size_of_a_body_is_in_mm_on_any_grid(spacing: tuple[float, float, float]) -> None:
    found = body_features(*cylinder(spacing), spacing)
    assert found["length"] == pytest.approx(150, abs=6)
    for part in ("upper_area", "middle_area", "lower_area", "smallest_area"):
        assert found[part] == pytest.approx(np.pi * 6 * 10, rel=0.02)
    assert found["width"] == pytest.approx(200, abs=8)
    assert found["depth"] == pytest.approx(120, abs=8)
    assert found["air"] == pytest.approx(100 * 20**2 / (60 * 100), rel=0.1)
    assert found["soft"] == 30


def test_slices_with_a_sliver_of_the_body_are_no_part_of_it() -> None:
    hu, body = cylinder((5.0, 4.0, 4.0))
    longer = body.copy()
    longer[:, 30:32, 30:32] = True
    assert body_features(hu, longer, (5.0, 4.0, 4.0))["length"] == body_features(hu, body, (5.0, 4.0, 4.0))["length"]


def test_head_and_feet_exchanged_change_the_shape_only() -> None:
    hu = disc()
    one, other = (body_features(values, values > -500, SPACING) for values in (hu, hu[::-1]))
    for part, opposite in (("upper", "lower"), ("middle", "middle"), ("lower", "upper")):
        assert one[f"{part}_area"] == pytest.approx(other[f"{opposite}_area"])
    assert one["upper_area"] < 0.9 * one["lower_area"]
    assert one["soft"] == other["soft"]


def test_a_photograph_of_one_colour_is_flat_and_noise_is_not() -> None:
    plain = photograph_features(np.full((3, 24, 24), 100.0))
    noise = photograph_features(np.random.default_rng(0).uniform(0, 255, (3, 24, 24)))
    assert (plain["flat"], plain["luminance"], plain["rim"]) == (100, pytest.approx(100), pytest.approx(0, abs=1e-9))
    assert noise["flat"] < 1
    assert abs(noise["smoothness"]) < 0.1 < 0.9 < plain["smoothness"]


def test_colour_is_measured_against_green() -> None:
    image = np.stack([np.full((24, 24), value, float) for value in (150, 100, 90)])
    found = photograph_features(image)
    assert (found["red"], found["blue"]) == (50, -10)
