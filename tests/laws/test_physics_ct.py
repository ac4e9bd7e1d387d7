"""Laws of low-dose CT: variance is inverse to the dose, kernels shape its spectrum, and means are preserved."""

import numpy as np
import pytest
import torch

from medley.physics import create_degradation
from medley.physics.ct import thicker
from medley.physics.kernels import kernel_window
from medley.volume import Slices, Volume

KERNELS = ["ramp", "shepp-logan", "hann-1.0", "hann-0.8", "hann-0.5"]


def water(pixels: int = 64, mm: float = 3.0, radius: float = 75.0) -> tuple[np.ndarray, np.ndarray]:
    """A cylinder of water in air, HU, and which pixels are its middle."""
    axis = (np.arange(pixels) - (pixels - 1) / 2) * mm
    distance = np.hypot(axis[:, None], axis)
    return np.where(distance < radius, 0, -1000).astype(np.float32), distance < 0.3 * radius


def noise(image: np.ndarray, mm: float, slices: int, **options: float | str) -> np.ndarray:
    degradation = create_degradation("ct-low-dose", **options)
    stack = np.repeat(image[None], slices, 0)
    return degradation.apply(stack, degradation.draw(np.random.default_rng(0)), (mm, mm)) - stack


@pytest.mark.parametrize("exposure", [{"photons": 2e5}, {"noise_index": 10.0}])
def test_variance_grows_as_one_over_the_dose(exposure):
    image, middle = water()
    doses = [1.0, 0.5, 0.25, 0.1]
    options = {"electronic": 0.0, "scan_noise": "ignored", **exposure}
    scaled = [noise(image, 3.0, 40, dose=dose, **options)[:, middle].var() * dose for dose in doses]
    # 40 slices of some hundred pixels each: the variance is known to about 1.5 %
    np.testing.assert_allclose(scaled, scaled[0], rtol=0.06)


def test_with_the_noise_of_the_scan_counted_the_total_variance_is_inverse_to_the_dose():
    """The scan contributes the variance of dose 1; added is what is missing, and nothing at dose 1."""
    image, middle = water()
    options = {"electronic": 0.0, "noise_index": 10.0}
    own = noise(image, 3.0, 40, dose=1.0, scan_noise="ignored", **options)[:, middle].var()
    for dose in (0.9, 0.5, 0.25, 0.1):
        added = noise(image, 3.0, 40, dose=dose, scan_noise="counted", **options)[:, middle].var()
        assert (own + added) * dose == pytest.approx(own, rel=0.06), dose
    assert np.abs(noise(image, 3.0, 2, dose=1.0)).max() == 0


def test_the_noise_vanishes_continuously_towards_the_full_dose():
    image, middle = water()
    stds = [noise(image, 3.0, 4, dose=dose, scan_noise="counted")[:, middle].std() for dose in (0.9, 0.99, 0.9999)]
    np.testing.assert_allclose(stds, stds[0] * np.sqrt([1, 0.1 * 0.9 / 0.99, 1e-3 * 0.9]), rtol=0.1)


@pytest.mark.parametrize("kernel", KERNELS[1:])
def test_a_kernel_multiplies_the_noise_power_spectrum_by_the_square_of_its_window(kernel):
    """The spectrum of noise in a uniform region, by radial frequency, relative to that of the ramp kernel."""
    image, _ = water(pixels=64, mm=3.0, radius=85.0)
    taper = np.outer(np.hanning(32), np.hanning(32))
    power = []
    for one in ("ramp", kernel):
        middle = noise(image, 3.0, 12, dose=0.25, kernel=one)[:, 16:48, 16:48]
        power.append((np.abs(np.fft.rfft2(middle * taper)) ** 2).mean(axis=0))
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)) * 2  # 1 is the Nyquist frequency
    for low in np.arange(0.15, 0.85, 0.1):
        band = (frequency >= low) & (frequency < low + 0.1)
        window = kernel_window(kernel, torch.from_numpy(frequency[band])).numpy()
        expected = (power[0][band] * window**2).sum() / power[0][band].sum()
        assert power[1][band].sum() / power[0][band].sum() == pytest.approx(expected, rel=0.15, abs=0.01), low


def test_a_smoother_kernel_gives_less_noise():
    image, middle = water()
    stds = [noise(image, 3.0, 4, dose=0.25, kernel=kernel)[:, middle].std() for kernel in KERNELS]
    assert stds == sorted(stds, reverse=True)
    assert stds[-1] < 0.5 * stds[0]


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_noise_has_no_bias(kernel):
    image, middle = water()
    values = noise(image, 3.0, 40, dose=0.25, kernel=kernel)[:, middle]
    assert abs(values.mean()) < 0.05 * values.std()


@pytest.mark.parametrize(("pixels", "mm"), [(64, 3.0), (100, 1.8), (48, 4.5)])
def test_the_noise_index_is_reached_on_any_grid(pixels, mm):
    image, _ = water(pixels, mm)
    axis = np.arange(pixels) - (pixels - 1) / 2
    middle = np.hypot(axis[:, None], axis) * mm < 12  # here every ray is about as thick as the thickest
    std = noise(image, mm, 60, dose=1.0, noise_index=12.0, electronic=0.0, scan_noise="ignored")[:, middle].std()
    assert std == pytest.approx(12, rel=0.1)


@pytest.mark.parametrize(("dose", "kernel"), [(0.05, "ramp"), (0.05, "hann-0.5"), (0.25, "ramp")])
def test_the_mean_is_preserved_even_where_few_photons_are_left(dose, kernel):
    """Within four standard errors, about 1 HU at the lowest dose; the bias of the logarithm would be nine of them."""
    image, middle = water()
    options = {"dose": dose, "kernel": kernel, "scan_noise": "counted"}
    means = noise(image, 3.0, 300, **options)[:, middle].mean(axis=1)
    assert abs(means.mean()) < 4 * means.std() / np.sqrt(len(means))


def test_electronic_noise_adds_to_it():
    image, middle = water()
    quiet, loud = (noise(image, 3.0, 20, dose=0.25, electronic=e)[:, middle].std() for e in (0.0, 20.0))
    assert loud > 1.2 * quiet


@pytest.mark.parametrize("slab", [1.5, 2.0, 3.0, 4.4, 7.0])
def test_thicker_slices_keep_what_is_linear_along_the_axis(slab):
    rng = np.random.default_rng(0)
    base, slope = rng.random((2, 6, 5)).astype(np.float32)
    stack = base + np.arange(12, dtype=np.float32)[:, None, None] * slope
    thick = np.stack(list(thicker(iter(stack), slab)))
    assert (thick.shape, thick.dtype) == (stack.shape, np.float32)
    np.testing.assert_allclose(thick[4:-4], stack[4:-4], rtol=1e-5)
    same = np.stack(list(thicker(iter(np.repeat(base[None], 12, 0)), slab)))  # also at the ends
    np.testing.assert_allclose(same, np.repeat(base[None], 12, 0), rtol=1e-6)


def test_a_thicker_slice_is_the_average_of_the_slices_in_its_slab():
    stack = np.random.default_rng(0).random((9, 4, 4)).astype(np.float32)
    three, two = (np.stack(list(thicker(iter(stack), slab))) for slab in (3.0, 2.0))
    np.testing.assert_allclose(three[4], stack[3:6].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(three[0], stack[:2].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(two[4], stack[3] / 4 + stack[4] / 2 + stack[5] / 4, rtol=1e-6)
    for few in (1, 2):  # fewer slices than the slab holds
        np.testing.assert_allclose(list(thicker(iter(stack[:few]), 9.0)), [stack[:few].mean(axis=0)] * few, rtol=1e-6)
    assert np.array_equal(list(thicker(iter(stack), 1.0)), stack)


def test_thicker_slices_have_less_noise_in_the_scan_and_its_target():
    image, middle = water()
    stack = np.repeat(image[None], 15, 0)
    spacing = (2.0, 3.0, 3.0)
    degradation = create_degradation("ct-low-dose", slice_mm=10.0)
    parameters = degradation.draw(np.random.default_rng(0))
    thin, thick = (
        degradation.apply(stack, {**parameters, "slice_mm": mm}, spacing)[2:-2, middle] for mm in (None, 10.0)
    )
    assert thick.std() == pytest.approx(thin.std() / np.sqrt(5), rel=0.1)
    stack[:, middle] += np.random.default_rng(1).normal(0, 20, (15, middle.sum())).astype(np.float32)
    target = degradation.reference(stack, parameters, spacing)[2:-2, middle]
    assert target.std() == pytest.approx(20 / np.sqrt(5), rel=0.1)
    assert target.mean() == pytest.approx(stack[:, middle].mean(), abs=0.5)


def test_thicker_slices_of_a_streamed_scan_are_bit_identical_to_those_in_memory():
    stack = np.random.default_rng(0).normal(0, 50, (7, 24, 20)).astype(np.float32)
    volume = Volume(stack, np.diag([1.5, 3.0, 3.0, 1.0]), "CT", "HU")
    degradation = create_degradation("ct-low-dose", slice_mm=4.0)
    parameters = degradation.draw(np.random.default_rng(0))
    for work in (degradation.apply, degradation.reference):
        streamed = work(volume.with_data(Slices(stack.shape, lambda: iter(stack))), parameters)
        assert isinstance(streamed.data, Slices)
        assert np.array_equal(np.asarray(streamed.data), work(volume, parameters).data)
        assert np.array_equal(work(stack, parameters, (1.5, 3.0, 3.0)), work(volume, parameters).data)
