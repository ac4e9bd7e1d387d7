"""Laws of truncated MR: truncation is a projection, refining keeps values, measured lines stay measured."""

import numpy as np
import pytest
import torch

from medley.physics import create_degradation
from medley.physics.mr import keep_measured, lines_kept, refine_grid, refined_affine, truncate

SHAPES = [(32, 32), (31, 32), (33, 47), (92, 64)]


def random(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("keep", [0.05, 0.25, 0.6, 1.0])
def test_truncation_twice_is_truncation_once_and_its_own_adjoint(shape, keep):
    x, y = (torch.from_numpy(random(shape, seed)).double() for seed in (0, 1))
    once = truncate(x, keep)
    torch.testing.assert_close(truncate(once, keep), once, rtol=0, atol=1e-12)
    assert float((once * y).sum()) == pytest.approx(float((x * truncate(y, keep)).sum()), rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_quarter_of_the_lines_along_each_axis_is_left(shape):
    spectrum = torch.fft.fft2(truncate(torch.from_numpy(random(shape)).double(), 0.25)).abs() > 1e-9
    rows, columns = (lines_kept(n, 0.25) for n in shape)
    assert int(spectrum.sum()) == rows * columns
    assert all(abs(kept - n / 4) <= 1.5 and kept % 2 for kept, n in zip((rows, columns), shape, strict=True))


def test_keeping_all_is_the_image_itself():
    image = random((3, 30, 41))
    parameters = create_degradation("mr-truncation", keep=1.0).draw(np.random.default_rng(0))
    np.testing.assert_allclose(create_degradation("mr-truncation").apply(image, parameters, (1, 1)), image, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_refining_keeps_the_values(shape, scale):
    image = random((2, *shape))
    fine = refine_grid(image, scale)
    assert fine.shape == (2, shape[0] * scale, shape[1] * scale)
    assert fine.dtype == np.float32
    np.testing.assert_allclose(fine[:, ::scale, ::scale], image, atol=1e-5)
    assert fine.mean() == pytest.approx(image.mean(), rel=1e-5)


def test_refining_draws_the_wave_between_the_pixels():
    places = np.arange(16)
    wave = np.cos(2 * np.pi * 3 * places / 16)
    fine = refine_grid(np.tile(wave, (16, 1)), 4)
    np.testing.assert_allclose(fine[5], np.cos(2 * np.pi * 3 * np.arange(64) / 64), atol=1e-6)


def test_the_refined_affine_finds_every_old_pixel():
    affine = np.array([[0, 0.2, -1.5, 40], [0, 2, 0.1, -10], [5, 0, 0, 7], [0, 0, 0, 1.0]])
    fine = refined_affine(affine, 4)
    np.testing.assert_allclose(fine @ [2, 4 * 5, 4 * 9, 1], affine @ [2, 5, 9, 1])


@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_measured_is_kept(shape):
    restored, measured = random((2, *shape), 0), random((2, *shape), 1)
    lines = tuple(round(n / 4) for n in shape)
    both = keep_measured(restored, measured, lines)
    t_both, t_measured, t_restored = (truncate(torch.from_numpy(x), 0.25) for x in (both, measured, restored))
    torch.testing.assert_close(t_both, t_measured, rtol=0, atol=1e-5)
    np.testing.assert_allclose(both - t_both.numpy(), restored - t_restored.numpy(), atol=1e-5)
    np.testing.assert_array_equal(keep_measured(restored, restored, lines), restored)


def test_noise_is_rician():
    level = 7.0
    degradation = create_degradation("mr-truncation", keep=0.5, noise=level)
    parameters = degradation.draw(np.random.default_rng(0))
    empty = degradation.apply(np.zeros((30, 64, 64)), parameters, (1, 1))
    assert empty.mean() == pytest.approx(level * np.sqrt(np.pi / 2), rel=0.03)  # Rayleigh where there is no signal
    bright = degradation.apply(np.full((30, 64, 64), 500.0), parameters, (1, 1))
    assert bright.std() == pytest.approx(level, rel=0.05)


@pytest.mark.parametrize("lines", [(32, 32), (16, 8), (15, 9), (1, 1), (31, 32)])
def test_measured_samples_are_preserved_and_the_others_are_those_of_the_restored_image(lines):
    restored, measured = random((2, 32, 32), 0), random((2, 32, 32), 1)
    spectra = [np.fft.fftshift(np.fft.fft2(x), (-2, -1)) for x in (keep_measured(restored, measured, lines), measured)]
    inside = np.zeros((32, 32), bool)
    rows, columns = (range(16 - (n - 1) // 2, 16 + (n - 1) // 2 + 1) if n < 32 else range(32) for n in lines)
    inside[np.ix_(rows, columns)] = True
    scale = np.abs(spectra[1]).max()
    assert np.abs((spectra[0] - spectra[1])[:, inside]).max() < 1e-3 * scale
    kept = np.fft.fftshift(np.fft.fft2(restored), (-2, -1))
    assert np.abs((spectra[0] - kept)[:, ~inside]).max(initial=0) < 1e-3 * scale
