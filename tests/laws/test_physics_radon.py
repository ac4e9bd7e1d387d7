"""Laws of the projector: its adjoint is exact, each view has the mass of the image, a disc is reconstructed."""

import math

import pytest
import torch

from medley.physics import radon
from medley.physics.radon import ParallelBeam, half_turn

GRIDS = [
    ((32, 32), (2.0, 2.0)),
    ((31, 32), (1.0, 1.0)),
    ((24, 40), (3.0, 2.0)),
    ((40, 24), (0.5, 1.5)),
    ((1, 16), (2.0, 2.0)),
]


@pytest.fixture(params=["matrix", "interpolation"])
def form(request, monkeypatch) -> str:
    """Both forms of the projector: the stored matrix for small grids and the interpolation for large ones."""
    if request.param == "interpolation":
        monkeypatch.setattr(radon, "_STORED_WEIGHTS", 0)
    return request.param


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def disc(beam: ParallelBeam, radius: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance of every pixel from the centre in mm, and the exact line integrals of a disc of height 1."""
    y, x = ((torch.arange(n) - (n - 1) / 2) * mm for n, mm in zip(beam.shape, beam.spacing, strict=True))
    chord = 2 * (radius**2 - beam.offsets**2).clamp(min=0).sqrt()
    return torch.hypot(y[:, None], x), chord.float().expand(1, len(beam.angles), -1)


@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
def test_back_projection_is_the_adjoint(form, shape, spacing):
    beam = ParallelBeam(shape, spacing, half_turn(30))
    image, sinogram = random(2, *shape), random(2, 30, beam.bins, seed=1)
    left = (beam.project(image).double() * sinogram).sum()
    right = (image.double() * beam.back_project(sinogram)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-5)


@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
def test_both_forms_are_the_same_operator(monkeypatch, shape, spacing):
    beam = ParallelBeam(shape, spacing, half_turn(30))
    image = random(2, *shape)
    stored = beam.project(image)
    monkeypatch.setattr(radon, "_STORED_WEIGHTS", 0)
    torch.testing.assert_close(beam.project(image), stored, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("shape", "spacing"), GRIDS[:4])
def test_each_view_has_the_mass_of_the_image(form, shape, spacing):
    beam = ParallelBeam(shape, spacing, half_turn(30))
    y, x = (torch.linspace(-2, 2, n) for n in shape)
    image = torch.exp(-(y[:, None] ** 2) - x**2 / 2)[None]
    mass = float(image.sum()) * math.prod(spacing)
    views = beam.project(image).sum(-1) * beam.bin_mm
    torch.testing.assert_close(views, torch.full_like(views, mass), rtol=5e-3, atol=0)


def test_line_integrals_of_a_disc(form):
    beam = ParallelBeam((128, 128), (2.0, 2.0), half_turn(12))
    distance, exact = disc(beam, 80.0)
    soft_edge = ((80.0 - distance) / 2 + 0.5).clamp(0, 1)  # a pixel on the rim has the fraction that is inside
    through = beam.offsets.abs() < 72  # near the rim a chord changes by millimetres from pixel to pixel
    torch.testing.assert_close(beam.project(soft_edge[None])[..., through], exact[..., through], rtol=0.015, atol=0)


@pytest.mark.parametrize(("shape", "spacing"), [((128, 128), (2.0, 2.0)), ((128, 160), (2.5, 2.0))])
def test_a_disc_is_reconstructed_within_one_percent(shape, spacing):
    beam = ParallelBeam(shape, spacing, half_turn(200))
    radius = 0.38 * min(shape[0] * spacing[0], shape[1] * spacing[1])
    distance, exact = disc(beam, radius)
    image = beam.filtered_back_projection(exact)[0]
    inside = image[distance < 0.9 * radius]
    assert float((inside - 1).abs().max()) < 0.01
    assert float(inside.mean()) == pytest.approx(1, abs=2e-3)
    assert float(image[distance > 1.1 * radius].abs().max()) < 0.03


def test_projection_then_reconstruction_is_the_identity_for_smooth_images():
    beam = ParallelBeam((96, 80), (2.0, 2.5), half_turn(160))
    y, x = (torch.linspace(-4, 4, n) for n in beam.shape)
    image = torch.exp(-((y[:, None] - 0.7) ** 2) - (x + 0.5) ** 2)[None]
    torch.testing.assert_close(beam.filtered_back_projection(beam.project(image)), image, rtol=0, atol=0.01)


@pytest.fixture
def set_threads():
    """Sets PyTorch's number of threads; restored after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("operator", ["project", "back_project", "filtered_back_projection"])
def test_results_are_bit_identical_for_every_batch_size_and_number_of_threads(form, operator, threads, set_threads):
    beam = ParallelBeam((40, 33), (2.0, 3.0), half_turn(60))
    apply = getattr(beam, operator)
    batch = random(9, 40, 33) if operator == "project" else random(9, 60, beam.bins)
    set_threads(1)
    expected = apply(batch)
    set_threads(threads)
    for size in range(1, 10):
        assert torch.equal(apply(batch[:size]), expected[:size]), size
        assert torch.equal(apply(batch[-size:]), expected[-size:]), size
