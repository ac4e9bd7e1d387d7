"""Low-count PET: coincidences dropped from a simulated scan, both reconstructed by the same chain."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch.nn.functional import conv2d

from medley.physics.base import Degradation, Image, Limits, Spacing, noise_generator
from medley.physics.radon import ParallelBeam, half_turn

_TINY = 1e-12

System = Callable[[torch.Tensor], torch.Tensor]


class LowCountPET(Degradation):
    """A PET scan as it had looked with a fraction of its counts.

    A slice of the scan is taken for the true activity, blurred by a Gaussian point-spread function, and projected
    (parallel beam). The full-count sinogram is a Poisson draw; the low-count one keeps each count of it with
    probability 1/reduction, which is what dropping list-mode events does. Both are reconstructed by the same OSEM,
    which knows the point-spread function: `apply` gives the image of the few counts, `reference` that of all of them.
    Attenuation, scatter and randoms are not simulated: counts are those that remain after their correction.

    Source of OSEM: Hudson and Larkin, IEEE Trans. Med. Imaging 13 (1994) 601.

    Parameters
    ----------
    reduction: how many times fewer counts, from 1.
    counts: coincidences of the full-count scan for a square centimetre of the slice at 1 SUV, so that a crop is about
        as noisy as the same piece of a whole slice.
    iterations, subsets: of OSEM.
    psf_mm: full width at half maximum of the point-spread function.
    filter_mm: full width at half maximum of a Gaussian filter after the reconstruction; 0 for none.
    """

    name = "pet-low-count"
    modality = "PT"
    limits: ClassVar = {
        "reduction": Limits(10, 1, 1e6, closed=True),
        "counts": Limits(3000.0, 0, 1e9),
        "iterations": Limits(3, 1, 1000, closed=True, whole=True),
        "subsets": Limits(8, 1, 64, closed=True, whole=True),
        "psf_mm": Limits(5.0, 0, 100, closed=True),
        "filter_mm": Limits(4.0, 0, 100, closed=True),
    }
    _pixels_at_once = 1 << 18

    def reference(
        self, image: Image, parameters: Mapping[str, Any], spacing: Spacing | None = None, *, first_slice: int = 0
    ) -> Image:
        """The reconstruction of all counts, of which those of `apply` are a part."""
        return self._run(partial(self._scan, thinned=False), image, parameters, spacing, first_slice)

    def _degrade(
        self, slices: torch.Tensor, first: int, parameters: Mapping[str, Any], spacing: Spacing
    ) -> torch.Tensor:
        return self._scan(slices, first, parameters, spacing, thinned=True)

    def _scan(
        self, slices: torch.Tensor, first: int, parameters: Mapping[str, Any], spacing: Spacing, thinned: bool
    ) -> torch.Tensor:
        shape = (slices.shape[1], slices.shape[2])
        systems = scanner(shape, spacing, parameters["counts"], parameters["subsets"], parameters["psf_mm"])
        activity = slices.clamp(min=0)
        expected = [system(activity) for system in systems]
        measured = [torch.empty_like(part) for part in expected]
        for k in range(len(slices)):
            rng = noise_generator(parameters, first + k)
            full = [rng.poisson(part[k].double().numpy()) for part in expected]
            kept = [rng.binomial(part, 1 / parameters["reduction"]) for part in full] if thinned else full
            for part, one in zip(measured, kept, strict=True):
                part[k] = torch.from_numpy(one)
        share = 1 / parameters["reduction"] if thinned else 1.0
        image = osem(systems, measured, torch.ones_like(slices), parameters["iterations"]) / share
        return blur(image, parameters["filter_mm"], spacing)


def scanner(shape: tuple[int, int], spacing: Spacing, counts: float, subsets: int, psf_mm: float) -> list[System]:
    """The expected counts of slices in SUV: for every subset of views a map (N, rows, columns) -> (N, views, bins).

    All subsets together give `counts` for a square centimetre at 1 SUV. Views: pi/2 times the longer side of the grid,
    rounded up to a multiple of the subsets, over half a turn; a subset takes every so-manyth.
    """
    views = subsets * math.ceil(math.pi / 2 * max(shape) / subsets)
    angles = half_turn(views)

    def system(beam: ParallelBeam, images: torch.Tensor) -> torch.Tensor:
        # a view's rays sum to (image sum) * (pixel area) / (bin width), in mm
        return beam.project(blur(images, psf_mm, spacing)) * (counts / 100 * beam.bin_mm / views)

    return [partial(system, ParallelBeam(shape, spacing, angles[k::subsets])) for k in range(subsets)]


def osem(systems: list[System], counts: list[torch.Tensor], image: torch.Tensor, iterations: int) -> torch.Tensor:
    """Ordered-subsets expectation maximisation.

    x <- x / M^T 1 * M^T (y / M x), with M and y of one subset after the other; every update keeps that subset's counts:
    the sum of M x is then the sum of y.

    Parameters
    ----------
    systems: a linear map a subset, (N, rows, columns) -> (N, views, bins).
    counts: measured, (N, views, bins) a subset.
    image: (N, rows, columns), where to start; above 0 wherever there may be activity.
    iterations: how often each subset is used.

    Source: Hudson and Larkin, IEEE Trans. Med. Imaging 13 (1994) 601.
    """
    sensitivities = []
    for system, measured in zip(systems, counts, strict=True):
        adjoint = torch.func.vjp(system, torch.zeros_like(image[:1]))[1]
        sensitivities.append(adjoint(torch.ones_like(measured[:1]))[0])
    for _ in range(iterations):
        for system, measured, sensitivity in zip(systems, counts, sensitivities, strict=True):
            expected, adjoint = cast("tuple[torch.Tensor, System]", torch.func.vjp(system, image))
            image = image * adjoint(measured / expected.clamp(min=_TINY))[0] / sensitivity.clamp(min=_TINY)
    return image


def blur(images: torch.Tensor, fwhm_mm: float, spacing: Spacing) -> torch.Tensor:
    """(N, rows, columns) convolved with a Gaussian of this full width at half maximum; zero outside; self-adjoint."""
    if fwhm_mm == 0:
        return images
    images = images[:, None]
    for axis, mm in enumerate(spacing):
        sigma = fwhm_mm / mm / math.sqrt(8 * math.log(2))
        reach = math.ceil(3 * sigma)
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
        kernel = (kernel / kernel.sum()).to(images)
        if axis == 0:
            images = conv2d(images, kernel[None, None, :, None], padding=(reach, 0))
        else:
            images = conv2d(images, kernel[None, None, None, :], padding=(0, reach))
    return images[:, 0]
