"""Laws of truncated MR: truncation is a projection, refining keeps values, measured lines stay measured, partial
Fourier of waves, and the level of the noise."""

import numpy as np
import pytest
import torch

from medley.physics import create_degradation
from medley.physics.mr import (
    _complex_part,
    _real_part,
    keep_measured,
    lines_kept,
    refine_grid,
    refined_affine,
    signal_level,
    truncate,
)
from medley.volume import Slices, Volume

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


def degrade(image: np.ndarray, **options: float | str | None) -> np.ndarray:
    degradation = create_degradation("mr-truncation", **options)
    return degradation.apply(image, degradation.draw(np.random.default_rng(0)), (1, 1))


def test_without_truncation_and_noise_no_bit_changes():
    image = random((3, 30, 41)) - 0.5  # also negative values
    assert np.array_equal(degrade(image, keep=1.0), image)


@pytest.mark.parametrize("shape", [(32, 32), (31, 48)])
@pytest.mark.parametrize(("phase", "axis"), [("rows", 0), ("columns", 1)])
def test_partial_fourier_measures_one_of_the_two_frequencies_of_a_wave(shape, phase, axis):
    """Of b + a cos(w x), the half e^(-iwx) is cut off; the magnitude of b + a/2 e^(iwx) is left."""
    places = np.indices(shape)[axis] * (2 * np.pi / shape[axis])
    low, high = (np.asarray(10 + 4 * np.cos(k * places), np.float32) for k in (1, 14))
    bad = degrade(high, keep=1.0, partial_fourier=0.75, phase=phase)
    np.testing.assert_allclose(bad, np.sqrt(104 + 40 * np.cos(14 * places)), rtol=1e-5)
    np.testing.assert_allclose(degrade(low, keep=1.0, partial_fourier=0.75, phase=phase), low, rtol=1e-5)
    other = "columns" if phase == "rows" else "rows"
    np.testing.assert_allclose(degrade(high, keep=1.0, partial_fourier=0.75, phase=other), high, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("partial", [0.5, 0.7, 0.95])
def test_partial_fourier_keeps_a_constant_and_never_adds_energy(shape, partial):
    np.testing.assert_allclose(degrade(np.full(shape, 7, np.float32), partial_fourier=partial), 7, rtol=1e-6)
    image = random((2, *shape))
    full, part = degrade(image, keep=0.6), degrade(image, keep=0.6, partial_fourier=partial)
    assert (part**2).sum() <= (full**2).sum() * (1 + 1e-6)


def test_all_of_the_lines_are_the_same_image_for_real_and_complex_computation():
    lines = [torch.from_numpy(np.abs(np.fft.fftfreq(n, 1 / n)) <= kept) for n, kept in ((30, 7), (41, 9))]
    image = torch.from_numpy(random((2, 30, 41)))
    for a, b in zip(_real_part(image, image.flip(1), *lines), _complex_part(image, image.flip(1), *lines), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_axis_may_have_a_fraction_of_its_own(shape):
    image = random((2, *shape)) + 3
    spectrum = np.abs(np.fft.fft2(degrade(image, keep=0.8, keep_columns=0.3).astype(np.float64))) > 1e-3
    assert spectrum.any(axis=(0, 2)).sum() == lines_kept(shape[0], 0.8)
    assert spectrum.any(axis=(0, 1)).sum() == lines_kept(shape[1], 0.3)


@pytest.mark.parametrize("partial", [1.0, 0.7])
def test_the_noise_has_the_level_that_was_drawn(partial):
    bright = np.full((30, 64, 64), 500.0, np.float32)
    options = {"keep": 0.5, "keep_columns": 0.8, "partial_fourier": partial}
    assert degrade(bright, noise=7.0, **options).std() == pytest.approx(7, rel=0.05)
    assert degrade(bright, noise_percent=2.0, **options).std() == pytest.approx(0.02 * 500, rel=0.05)


def test_relative_noise_scales_with_the_scan():
    image = random((4, 32, 32))
    np.testing.assert_allclose(
        degrade(64 * image, noise_percent=5.0), 64 * degrade(image, noise_percent=5.0), rtol=1e-4
    )


def test_the_signal_level_is_that_of_the_whole_scan():
    """A dark slice beside a bright one gets the noise of the scan, in one piece or in several with `signal` given."""
    image = np.stack([np.full((48, 48), 1.0), np.full((48, 48), 100.0)]).astype(np.float32)
    degradation = create_degradation("mr-truncation", noise_percent=3.0, keep=1.0)
    parameters = degradation.draw(np.random.default_rng(0))
    whole = degradation.apply(image, parameters, (1, 1))
    assert whole[0].mean() == pytest.approx(3 * np.sqrt(np.pi / 2), rel=0.1)
    known = {**parameters, "signal": signal_level(image)}
    pieces = [degradation.apply(image[k], known, (1, 1), first_slice=k) for k in range(2)]
    assert np.array_equal(np.stack(pieces), whole)
    streamed = degradation.apply(Volume(Slices(image.shape, lambda: iter(image)), np.eye(4), "MR"), parameters)
    assert np.array_equal(np.asarray(streamed.data), whole)
