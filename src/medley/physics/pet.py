"""Low-count PET: coincidences are dropped from a simulated scan; both are reconstructed by the same method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, ClassVar

import torch
from torch.nn.functional import pad

from medley.physics.base import Degradation, Spacing, Work, noise_generator
from medley.physics.parameters import Limits
from medley.physics.radon import ParallelBeam, half_turn

MOST_VIEWS = 240  # over half a turn
_TINY = 1e-12  # counts


class LowCountPET(Degradation):
    """A PET scan simulated with a fraction of its counts.

    A slice of the scan is taken as the true activity, blurred by a Gaussian point-spread function, and projected
    (parallel beam). The full-count sinogram is a Poisson draw; the low-count one keeps each count of it with
    probability 1/reduction, as dropping list-mode events does. Both are reconstructed by the same OSEM, which models
    the point-spread function: `apply` gives the low-count image, `reference` the full-count image. Attenuation, scatter
    and randoms are not simulated: counts are those that remain after their correction.

    Source of OSEM: Hudson and Larkin, IEEE Trans. Med. Imaging 13 (1994) 601.

    Parameters
    ----------
    reduction: factor by which the counts are reduced, at least 1; a range is drawn from on a logarithmic scale. At
        reduction 1 nothing is simulated: both images are the scan itself.
    counts: coincidences of the full-count scan per square centimetre of the slice at 1 SUV, so that a crop is about as
        noisy as the same region of a whole slice.
    iterations, subsets: of OSEM.
    psf_mm: full width at half maximum of the point-spread function.
    filter_mm: full width at half maximum of a Gaussian filter after the reconstruction; 0 for none.
    """

    name = "pet-low-count"
    modality = "PT"
    limits: ClassVar = {
        "reduction": Limits(10, 1, 1e6, closed=True, logarithmic=True),
        "counts": Limits(3000.0, 0, 1e9, logarithmic=True),
        "iterations": Limits(3, 1, 1000, closed=True, whole=True),
        "subsets": Limits(8, 1, 64, closed=True, whole=True),
        "psf_mm": Limits(5.0, 0, 100, closed=True),
        "filter_mm": Limits(4.0, 0, 100, closed=True),
    }
    none: ClassVar = {"reduction": 1.0}
    strength_name = "reduction of the counts"
    strength_parameter = "reduction"
    _pixels_at_once = 1 << 18

    def _reference_work(self, parameters: Mapping[str, Any]) -> Work | None:
        """The reconstruction of all counts; `apply` uses a subset of them."""
        return partial(self._scan, thinned=False)

    def _degrade(
        self, slices: torch.Tensor, first: int, parameters: Mapping[str, Any], spacing: Spacing
    ) -> torch.Tensor:
        return self._scan(slices, first, parameters, spacing, thinned=True)

    def _scan(
        self, slices: torch.Tensor, first: int, parameters: Mapping[str, Any], spacing: Spacing, thinned: bool
    ) -> torch.Tensor:
        if parameters["reduction"] == 1:
            return slices
        shape = (slices.shape[1], slices.shape[2])
        subsets = scanner(shape, spacing, parameters["counts"], parameters["subsets"], parameters["psf_mm"])
        activity = slices.clamp(min=0)
        expected = [subset.project(activity) for subset in subsets]
        measured = [torch.empty_like(part) for part in expected]
        for k in range(len(slices)):
            rng = noise_generator(parameters, first + k)
            full = [rng.poisson(part[k].double().numpy()) for part in expected]
            kept = [rng.binomial(part, 1 / parameters["reduction"]) for part in full] if thinned else full
            for part, one in zip(measured, kept, strict=True):
                part[k] = torch.from_numpy(one)
        share = 1 / parameters["reduction"] if thinned else 1.0
        image = osem(subsets, measured, torch.ones_like(slices), parameters["iterations"]) / share
        return blur(image, parameters["filter_mm"], spacing)


@dataclass(frozen=True)
class Subset:
    """The expected counts of a subset of the views: a linear map of slices in SUV, and its adjoint.

    Attributes
    ----------
    beam: the views.
    psf_mm: full width at half maximum of the point-spread function.
    scale: counts per SUV mm of a ray.
    """

    beam: ParallelBeam
    psf_mm: float
    scale: float

    def project(self, images: torch.Tensor) -> torch.Tensor:
        """(N, rows, columns) SUV -> (N, views, bins) expected counts."""
        return self.beam.project(blur(images, self.psf_mm, self.beam.spacing)) * self.scale

    def back_project(self, sinograms: torch.Tensor) -> torch.Tensor:
        """The adjoint: (N, views, bins) -> (N, rows, columns)."""
        return blur(self.beam.back_project(sinograms * self.scale), self.psf_mm, self.beam.spacing)


def scanner(shape: tuple[int, int], spacing: Spacing, counts: float, subsets: int, psf_mm: float) -> list[Subset]:
    """The views of a slice in `subsets` subsets, which together give `counts` per square centimetre at 1 SUV.

    The number of views over half a turn is pi/2 times the pixels along the longer side of the grid, at most
    `MOST_VIEWS`, rounded up to a multiple of `subsets`; the views of each subset are evenly spaced.
    """
    views = subsets * math.ceil(min(MOST_VIEWS, math.pi / 2 * max(shape)) / subsets)
    beams = _beams(shape, spacing, views, subsets)
    # the rays of a view sum to (sum of the image) * (pixel area) / (bin width), in mm; 100 mm^2 = 1 cm^2
    return [Subset(beam, psf_mm, counts / 100 * beam.bin_mm / views) for beam in beams]


@lru_cache(maxsize=2)  # a projector is made once per scan, not for each of its pieces
def _beams(shape: tuple[int, int], spacing: Spacing, views: int, subsets: int) -> list[ParallelBeam]:
    angles = half_turn(views)
    return [ParallelBeam(shape, spacing, angles[k::subsets]) for k in range(subsets)]


def osem(subsets: list[Subset], counts: list[torch.Tensor], image: torch.Tensor, iterations: int) -> torch.Tensor:
    """Ordered-subsets expectation maximisation.

    x <- x / M^T 1 * M^T (y / M x), with M and y of each subset in turn. Every update preserves the counts of its
    subset: afterwards the sum of M x is the sum of y.

    Parameters
    ----------
    subsets: the system matrix M, by subset.
    counts: measured y, (N, views, bins) for each subset.
    image: (N, rows, columns), the initial image; greater than 0 wherever there may be activity.
    iterations: number of passes over all subsets.

    Source: Hudson and Larkin, IEEE Trans. Med. Imaging 13 (1994) 601.
    """
    sensitivities = [
        subset.back_project(torch.ones_like(measured[:1])) for subset, measured in zip(subsets, counts, strict=True)
    ]
    for _ in range(iterations):
        for subset, measured, sensitivity in zip(subsets, counts, sensitivities, strict=True):
            ratio = measured / subset.project(image).clamp(min=_TINY)
            image = image * subset.back_project(ratio) / sensitivity.clamp(min=_TINY)
    return image


def blur(images: torch.Tensor, fwhm_mm: float, spacing: Spacing) -> torch.Tensor:
    """(N, rows, columns) convolved with a Gaussian of this full width at half maximum; zero outside; self-adjoint.

    The result for a slice is bit-identical for every batch size and number of threads: each step is one multiplication
    or one addition for each pixel. (The convolutions of PyTorch choose their algorithm by the batch size.)
    """
    if fwhm_mm == 0:
        return images
    for axis, mm in enumerate(spacing, start=1):
        sigma = fwhm_mm / mm / math.sqrt(8 * math.log(2))
        reach = math.ceil(3 * sigma)
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
        padded = pad(images, (0, 0, reach, reach) if axis == 1 else (reach, reach))
        size = images.shape[axis]
        images = torch.zeros_like(images)
        for k, weight in enumerate((kernel / kernel.sum()).tolist()):
            images += padded.narrow(axis, k, size) * weight
    return images
