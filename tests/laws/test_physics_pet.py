"""Laws of low-count PET: OSEM keeps the counts, thinning keeps the mean, both images come from the same counts."""

import numpy as np
import pytest
import torch

from medley.physics import create_degradation
from medley.physics.pet import blur, osem, scanner


def activity(slices: int = 2, rows: int = 30, columns: int = 24) -> np.ndarray:
    """A warm body that reaches over the border of the box, with a hot spot; SUV."""
    image = np.full((slices, rows, columns), 1.0, np.float32)
    image[:, 10:16, 8:14] = 6
    return image


@pytest.mark.parametrize("psf_mm", [0.0, 6.0])
def test_an_update_keeps_the_counts(psf_mm):
    subsets = scanner((30, 24), (4.0, 3.0), 500.0, 1, psf_mm)
    expected = subsets[0].project(torch.from_numpy(activity()))
    counts = torch.poisson(expected, generator=torch.Generator().manual_seed(0))
    for iterations in (1, 4):
        image = osem(subsets, [counts], torch.ones(2, 30, 24), iterations)
        kept = subsets[0].project(image).sum((1, 2))
        torch.testing.assert_close(kept, counts.sum((1, 2)), rtol=1e-4, atol=0)


def test_osem_finds_what_noiseless_counts_came_from():
    truth = torch.from_numpy(activity())
    subsets = scanner((30, 24), (4.0, 3.0), 500.0, 4, 4.0)
    image = osem(subsets, [subset.project(truth) for subset in subsets], torch.ones_like(truth), 30)
    assert float((image - truth).abs().mean()) < 0.02 * 6


def test_the_scanner_measures_the_requested_counts():
    image = torch.zeros(1, 60, 60)
    image[:, 20:40, 25:35] = 2.0  # 200 pixels of 3 mm x 3 mm: 18 square centimetres at 2 SUV
    subsets = scanner((60, 60), (3.0, 3.0), 700.0, 8, 5.0)
    assert float(sum(subset.project(image).sum() for subset in subsets)) == pytest.approx(700 * 18 * 2, rel=0.01)


def test_blurring_is_its_own_adjoint():
    x, y = (torch.rand(1, 20, 17, generator=torch.Generator().manual_seed(k)).double() for k in (0, 1))
    assert float((blur(x, 7.0, (3.0, 2.0)) * y).sum()) == pytest.approx(float((x * blur(y, 7.0, (3.0, 2.0))).sum()))


def test_blurring_has_the_requested_width():
    point = torch.zeros(1, 101, 101)
    point[0, 50, 50] = 1
    image = blur(point, 12.0, (1.5, 1.0))[0]
    assert float(image.sum()) == pytest.approx(1, abs=1e-5)
    for half_height in (image[54, 50], image[50, 56], image[50, 44]):  # 6 mm from the middle
        assert float(half_height / image[50, 50]) == pytest.approx(0.5, rel=1e-3)


def test_fewer_counts_are_noisier_and_as_bright():
    image = activity(slices=12)
    degradation = create_degradation("pet-low-count", reduction=10, counts=1000.0)
    parameters = degradation.draw(np.random.default_rng(0))
    low = degradation.apply(image, parameters, (4.0, 4.0))
    full = degradation.reference(image, parameters, (4.0, 4.0))
    assert low.mean() == pytest.approx(full.mean(), rel=0.01)
    assert full.mean() == pytest.approx(image.mean(), rel=0.02)
    assert low.var(axis=0).mean() > 5 * full.var(axis=0).mean()


@pytest.mark.parametrize("reduction", [2.0, 6.0, 20.0])
@pytest.mark.parametrize("psf_mm", [0.0, 4.0, 8.0])
def test_every_reduction_and_point_spread_preserves_the_total(reduction, psf_mm):
    image = activity(slices=6)
    degradation = create_degradation("pet-low-count", reduction=reduction, psf_mm=psf_mm)
    parameters = degradation.draw(np.random.default_rng(0))
    low, full = (f(image, parameters, (4.0, 4.0)) for f in (degradation.apply, degradation.reference))
    assert low.sum() == pytest.approx(full.sum(), rel=0.01)
    assert full.sum() == pytest.approx(image.sum(), rel=0.02)


def test_without_reduction_both_are_the_scan_itself():
    degradation = create_degradation("pet-low-count", reduction=1, counts=200.0)
    parameters = degradation.draw(np.random.default_rng(0))
    image = activity() - 1.5  # also negative values, which some reconstructions have
    for result in (f(image, parameters, (4.0, 4.0)) for f in (degradation.apply, degradation.reference)):
        assert np.array_equal(result, image)


def test_the_low_counts_are_part_of_the_full_ones():
    """Two scans of the same activity with nearly all counts kept differ less than two scans with other counts."""
    degradation = create_degradation("pet-low-count", reduction=1.02, counts=50.0)
    parameters = degradation.draw(np.random.default_rng(0))
    full = degradation.reference(activity(), parameters, (4.0, 4.0))
    low = degradation.apply(activity(), parameters, (4.0, 4.0))
    other = degradation.reference(activity(), {**parameters, "seed": 1}, (4.0, 4.0))
    assert np.abs(low - full).mean() < 0.4 * np.abs(other - full).mean()
