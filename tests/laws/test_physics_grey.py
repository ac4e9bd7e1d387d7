"""Laws of the degradations of grey images: mean and variance as stated, linearity, invariance."""

import math

import numpy as np
import pytest
from scipy.special import spence

from medley.physics import create_degradation
from medley.physics.grey import FULL_SPECKLE_DB
from medley.volume import Volume

SPACING = (1.0, 1.0)
SIDE = 400
SAMPLES = SIDE**2


def degraded(name: str, image: np.ndarray, seed: int = 0, **options) -> np.ndarray:
    degradation = create_degradation(name, **options)
    parameters = degradation.draw(np.random.default_rng(seed))
    return degradation.apply(image.astype(np.float32), parameters, SPACING).astype(np.float64)


def flat(value: float) -> np.ndarray:
    return np.full((SIDE, SIDE), value)


# (name, options, standard deviation at intensity I in units of full intensity)
NOISE = [
    ("xray-low-dose", {}, lambda intensity: math.sqrt(intensity / 30)),
    ("xray-low-dose", {"photons": 500.0}, lambda intensity: math.sqrt(intensity / 500)),
    ("us-speckle", {}, lambda intensity: 0.2 * math.sqrt(intensity)),
    ("us-speckle", {"std": 0.05}, lambda intensity: 0.05 * math.sqrt(intensity)),
    ("oct-speckle", {}, lambda intensity: FULL_SPECKLE_DB / 50),
    ("oct-speckle", {"speckle_db": 2.0, "range_db": 40.0}, lambda intensity: 2 / 40),
]


@pytest.mark.parametrize("intensity", [0.1, 0.5, 1.0])
@pytest.mark.parametrize(("name", "options", "deviation"), NOISE)
def test_the_mean_is_preserved_and_the_variance_is_as_stated(name, options, deviation, intensity):
    degradation = create_degradation(name, **options)
    image = np.full((SIDE, SIDE), intensity)
    noisy = degradation.worsened(image, degradation.parameters, np.random.default_rng(0))
    assert noisy.mean() == pytest.approx(intensity, abs=5 * deviation(intensity) / SIDE)
    assert noisy.std() == pytest.approx(deviation(intensity), rel=0.02)


@pytest.mark.parametrize(("name", "options", "deviation"), NOISE)
def test_the_result_is_clipped_to_what_the_image_can_store(name, options, deviation):
    degradation = create_degradation(name, **options)
    image = np.linspace(0, 255, SAMPLES, dtype=np.float32).reshape(SIDE, SIDE)
    parameters = degradation.draw(np.random.default_rng(2))
    rng = np.random.default_rng([parameters["seed"], 0])
    expected = degradation.worsened(image.astype(np.float64) / 255, parameters, rng).clip(0, 1) * 255
    np.testing.assert_allclose(degradation.apply(image, parameters, SPACING), expected, rtol=1e-6)


@pytest.mark.parametrize(("name", "options", "deviation"), NOISE)
def test_an_image_of_more_bits_is_degraded_as_one_of_8(name, options, deviation):
    image = np.linspace(0, 255, SAMPLES).reshape(SIDE, SIDE)
    factor = 4095 / 255
    many, eight = degraded(name, image * factor, **options), degraded(name, image, **options)
    assert np.mean(np.abs(many / factor - eight) < 1e-3) > 0.999  # a random count may differ by rounding
    assert np.array_equal(degraded(name, image * factor, full=4095, **options), many)


def test_a_row_of_photons_has_the_values_of_counts():
    noisy = degraded("xray-low-dose", flat(100.0)) / 255 * 30
    np.testing.assert_allclose(noisy, noisy.round(), atol=1e-4)


def test_black_stays_black_and_negative_values_are_no_intensity():
    assert not degraded("xray-low-dose", flat(0.0)).any()
    assert not degraded("us-speckle", flat(0.0)).any()
    assert not degraded("us-speckle", flat(-3.0)).any()


def test_speckle_has_the_distribution_of_the_logarithm_of_an_exponential_variable():
    """Skewness -1.14; the intensity 10^(dB / 10) has a deviation equal to its mean, as fully developed speckle has."""
    db = (degraded("oct-speckle", flat(128.0), range_db=200.0) - 128) / 255 * 200
    assert ((db / db.std()) ** 3).mean() == pytest.approx(-1.1395, abs=0.05)
    intensity = 10 ** (db / 10)
    assert intensity.std() / intensity.mean() == pytest.approx(1, abs=0.02)


def test_the_grain_correlates_neighbours_and_keeps_mean_and_variance():
    """For a field correlated by r, the logarithms of its intensities are correlated by Li2(r^2) / Li2(1)."""
    noise = degraded("oct-speckle", flat(128.0), grain=3.0, range_db=200.0) - 128
    assert noise.std() == pytest.approx(255 * FULL_SPECKLE_DB / 200, rel=0.03)
    assert noise.mean() == pytest.approx(0, abs=0.15)
    near = np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]
    far = np.corrcoef(noise[:, :-12].ravel(), noise[:, 12:].ravel())[0, 1]
    white = degraded("oct-speckle", flat(128.0)) - 128
    squared = math.exp(-4 * math.log(2) / 3.0**2)  # r^2 of neighbours: r = exp(-1 / (4 sigma^2))
    assert near == pytest.approx(spence(1 - squared) / spence(0), abs=0.03)
    assert abs(far) < 0.03
    assert abs(np.corrcoef(white[:, :-1].ravel(), white[:, 1:].ravel())[0, 1]) < 0.02


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(5).uniform(16, 235, (46, 61)).astype(np.float32)


def test_fewer_pixels_is_linear_and_keeps_constants(picture):
    other = np.random.default_rng(6).uniform(0, 100, picture.shape).astype(np.float32)
    one, two, both = (degraded("path-low-resolution", x) for x in (picture, other, 0.7 * picture + 0.4 * other))
    np.testing.assert_allclose(both, 0.7 * one + 0.4 * two, atol=1e-3)
    np.testing.assert_allclose(degraded("path-low-resolution", np.full((30, 21), 77.0)), 77, rtol=1e-5)


def test_fewer_pixels_keeps_coarse_and_loses_fine_patterns():
    """A period of 32 pixels is 8 reduced pixels; one of 4 is a single one and disappears."""
    column = np.arange(128)
    coarse, fine = (128 + 100 * np.tile(np.sin(2 * np.pi * (column + 0.5) / period), (16, 1)) for period in (32, 4))
    inside = (slice(None), slice(16, -16))
    assert np.abs(degraded("path-low-resolution", coarse) - coarse)[inside].max() < 10
    assert np.abs(degraded("path-low-resolution", fine) - 128)[inside].max() < 10


@pytest.mark.parametrize("flip", [np.flipud, np.fliplr, np.transpose])
def test_fewer_pixels_treats_all_directions_alike(picture, flip):
    np.testing.assert_allclose(
        degraded("path-low-resolution", flip(picture)), flip(degraded("path-low-resolution", picture)), atol=1e-3
    )


def test_an_image_smaller_than_the_factor_becomes_its_mean():
    tiny = np.array([[10.0, 20.0], [30.0, 40.0]])
    np.testing.assert_allclose(degraded("path-low-resolution", tiny), 25, atol=1e-4)


def test_the_average_is_of_columns_and_lowers_independent_noise(picture):
    degradation = create_degradation("oct-average")
    parameters = degradation.draw(np.random.default_rng(0))
    assert np.array_equal(degradation.apply(picture, parameters, SPACING), picture)
    mean = degradation.reference(picture, parameters, SPACING)
    np.testing.assert_allclose(mean[:, 30], picture[:, [14, 22, 30, 38, 46]].mean(1), rtol=1e-6)
    np.testing.assert_allclose(mean[:, 0], (3 * picture[:, 0] + picture[:, 8] + picture[:, 16]) / 5, rtol=1e-5)
    noise = np.random.default_rng(1).normal(100, 10, (SIDE, SIDE)).astype(np.float32)
    inner = degradation.reference(noise, parameters, SPACING)[:, 16:-16]
    assert inner.std() == pytest.approx(10 / math.sqrt(5), rel=0.02)


def test_a_volume_of_another_modality_of_the_same_kind_is_accepted():
    """Computed radiography counts as X-ray."""
    degradation = create_degradation("xray-low-dose")
    parameters = degradation.draw(np.random.default_rng(0))
    volume = Volume(np.full((1, 8, 8), 100, np.float32), np.eye(4), "CR")
    assert degradation.apply(volume, parameters).modality == "CR"
