"""The noise estimate: white noise, edges, padding, a mask."""

import numpy as np
import pytest
from scipy import ndimage

from medley.metrics.noise import FlatBlocks, noise_level, region_noise, second_differences, smooth_noise_level


@pytest.mark.parametrize("noise", [0.003, 0.05])
def test_noise_level_of_white_noise(noise: float) -> None:
    image = np.random.default_rng(2).normal(0.5, noise, (200, 160)).astype(np.float32)
    assert noise_level(image) == pytest.approx(noise, rel=0.03)
    ramp = image + np.linspace(0, 1, 160, dtype=np.float32)
    assert noise_level(ramp) == pytest.approx(noise, rel=0.03)
    padded = np.pad(image, 200)
    assert noise_level(padded) == pytest.approx(noise, rel=0.03)


def test_noise_level_of_nothing() -> None:
    assert noise_level(np.zeros((20, 20), np.float32)) == 0


def test_planes_and_edges_along_an_axis_have_no_second_difference() -> None:
    rows, columns = np.mgrid[:20, :30].astype(float)
    assert not second_differences(3 * rows - 2 * columns + 5).any()
    assert not second_differences((columns > 12) * 4.0).any()


@pytest.mark.parametrize("noise", [0.01, 0.2])
def test_the_noise_of_smooth_tissue_is_found_beside_anatomy(noise: float) -> None:
    rng = np.random.default_rng(0)
    image = np.full((96, 96), 10.0)
    image[:, 48:] += 3 * rng.standard_normal((96, 48))  # fine structure, much stronger than the noise
    image[:12] = 0  # air
    noisy = image + noise * rng.standard_normal(image.shape) * (image > 0)
    assert smooth_noise_level(noisy) == pytest.approx(noise, rel=0.1)
    assert noise_level(noisy) > 2 * noise


def test_images_smaller_than_a_block_have_no_noise() -> None:
    assert smooth_noise_level(np.random.default_rng(0).standard_normal((7, 40))) == 0


def correlated(kernel: str | float, side: int = 384) -> np.ndarray:
    """Noise of standard deviation 1: white noise behind a Gaussian of some pixels, or with the spectrum of a CT.

    The spectrum of the noise after filtered back-projection is the frequency, times the square of the window: nothing
    ("ramp"), or a Hann window that ends at a part of the Nyquist frequency.
    """
    white = np.random.default_rng(1).standard_normal((side, side))
    if isinstance(kernel, str):
        frequency = 2 * np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))  # 1 is that of Nyquist
        end = 1.0 if kernel == "ramp" else float(kernel.removeprefix("hann-"))
        window = 1.0 if kernel == "ramp" else 0.5 + 0.5 * np.cos(np.pi * frequency / end)
        amplitude = np.sqrt(frequency) * np.where(frequency < end, window, 0)
        noise = np.fft.ifft2(np.fft.fft2(white) * amplitude).real
    else:
        noise = ndimage.gaussian_filter(white, kernel, mode="wrap") if kernel else white
    return noise / noise.std()


# The table in docs/trust.md: what is found of a standard deviation of 1 with blocks of 4, 9 and 13 pixels.
FOUND = {
    0.0: (0.93, 0.99, 0.99),
    0.5: (0.83, 0.96, 0.98),
    1.0: (0.39, 0.75, 0.86),
    "ramp": (0.93, 1.00, 0.99),
    "hann-1.0": (0.60, 0.91, 0.96),
    "hann-0.7": (0.38, 0.80, 0.90),
}


@pytest.mark.parametrize("kernel", FOUND)
def test_of_correlated_noise_as_much_is_found_as_the_docs_state(kernel: str | float) -> None:
    noise = correlated(kernel)
    found = [region_noise(40 + 12 * noise, FlatBlocks(noise, side=side)) / 12 for side in (4, 9, 13)]
    assert found == pytest.approx(FOUND[kernel], abs=0.02)


def test_structure_adds_less_than_a_tenth_to_the_noise() -> None:
    row, column = np.mgrid[:256, :256]
    structure = 60 * np.sin(row / 20) + 80 * (column > 128)  # HU: ramps and an edge
    noisy = structure + 10 * correlated(0.0, 256)
    assert region_noise(noisy, FlatBlocks(noisy, side=9)) == pytest.approx(10, rel=0.1)


def test_noise_is_measured_in_the_given_range_only_and_not_in_padding() -> None:
    image = np.full((90, 90), -1000.0)
    image[18:72, 18:72] = 40 + 5 * correlated(0.0, 90)[18:72, 18:72]
    image[72:] += 50 * correlated(0.0, 90)[72:]
    assert region_noise(image, FlatBlocks(image, -100, 150, 9)) == pytest.approx(5, rel=0.1)
    assert FlatBlocks(image[:18], side=9).count == 0  # constant
    assert FlatBlocks(image[:5, :5], side=9).count == 0  # smaller than a block
    assert np.isnan(region_noise(image[:5, :5]))


def test_relative_noise_does_not_depend_on_the_signal() -> None:
    signal = np.repeat([2.0, 8.0], 90)[:, None] * (1 + 0.1 * correlated(0.0, 180))
    for one in (signal[:90], signal[90:], signal):
        assert region_noise(one, FlatBlocks(one, side=9, relative=True)) == pytest.approx(0.1, rel=0.05)


def test_the_variance_of_a_sum_follows_from_the_covariances() -> None:
    image, other = correlated(0.5, 90), correlated("ramp", 90)
    blocks = FlatBlocks(image, side=9)
    one, both, rest = blocks.covariance(image, image), blocks.covariance(image, other), blocks.covariance(other, other)
    total = image + 0.3 * other
    np.testing.assert_allclose(blocks.covariance(total, total), one + 0.6 * both + 0.09 * rest)
