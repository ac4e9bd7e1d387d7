"""Parallel-beam tomography of slices: line integrals, their adjoint, and filtered back-projection.

A slice has its origin in its middle; x runs along the columns, y along the rows, in mm. The ray of angle t and offset s
is the line x cos t + y sin t = s, s in mm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby

import torch
from torch.nn.functional import grid_sample

# So many points are interpolated at once: enough to keep every core busy, few enough to stay in the processor's cache.
_POINTS = 1 << 17


class ParallelBeam:
    """Joseph's projector for one grid and one set of views; a batch of slices goes through together.

    A ray crosses one row after the other (or one column after the other, whichever it crosses more squarely); in each
    the image is interpolated linearly between two pixels, and the sum is multiplied by the length of a step.

    Source: Joseph, IEEE Trans. Med. Imaging 1 (1982) 192.

    Parameters
    ----------
    shape: (rows, columns) of a slice.
    spacing: (row_mm, column_mm), distance between neighbouring rows and between neighbouring columns.
    angles: (views,), in radians.
    bin_mm: distance between neighbouring rays of a view; the smaller pixel side when not given. A view has `bins` rays,
        as many as the slice's diagonal needs.
    """

    def __init__(
        self, shape: tuple[int, int], spacing: tuple[float, float], angles: torch.Tensor, bin_mm: float | None = None
    ) -> None:
        self.shape = shape
        self.spacing = spacing
        self.angles = angles.double()
        self.bin_mm = min(spacing) if bin_mm is None else bin_mm
        diagonal = math.hypot(shape[0] * spacing[0], shape[1] * spacing[1])
        self.bins = math.ceil(diagonal / self.bin_mm) + 3
        self.offsets = _centred(self.bins) * self.bin_mm  # (bins,) mm

    def project(self, images: torch.Tensor) -> torch.Tensor:
        """Line integrals: (N, rows, columns) in any unit per mm -> (N, views, bins) in that unit."""
        turned = images.transpose(1, 2).contiguous()
        parts = [
            self._integrate(images if through_rows else turned, angles, through_rows)
            for angles, through_rows in self._blocks()
        ]
        return torch.cat(parts).transpose(0, 1)

    def back_project(self, sinograms: torch.Tensor) -> torch.Tensor:
        """The adjoint of `project`: (N, views, bins) -> (N, rows, columns)."""
        zero = sinograms.new_zeros(len(sinograms), *self.shape)
        return torch.func.vjp(self.project, zero)[1](sinograms)[0]

    def filtered_back_projection(self, sinograms: torch.Tensor) -> torch.Tensor:
        """The image of line integrals: (N, views, bins) -> (N, rows, columns), per mm.

        The views must be spread evenly over half a turn. The ramp filter is sampled in space, so that the mean is
        right, and the filtered views are interpolated linearly.

        Source: Kak and Slaney, Principles of Computerized Tomographic Imaging (1988), sec. 3.3.3, eq. 61.
        """
        length = 1 << (2 * self.bins - 1).bit_length()  # long enough that the convolution does not wrap around
        ramp = torch.fft.rfft(_ramp(length, self.bin_mm)).real.to(sinograms)
        filtered = torch.fft.irfft(torch.fft.rfft(sinograms, length) * ramp, length)[..., : self.bins]
        filtered = (filtered * (math.pi / len(self.angles))).transpose(0, 1).contiguous()  # (views, N, bins)
        rows, columns = (_centred(n) * mm for n, mm in zip(self.shape, self.spacing, strict=True))
        size = max(2, _POINTS // math.prod(self.shape))
        image = sinograms.new_zeros(len(sinograms), *self.shape)
        for views, angles in zip(filtered.split(size), self.angles.split(size), strict=True):
            offset = columns * torch.cos(angles)[:, None, None] + rows[:, None] * torch.sin(angles)[:, None, None]
            grid = _grid(offset / self.bin_mm, self.bins, torch.zeros(len(rows), 1), 1, views.dtype)
            image += grid_sample(views[:, :, None], grid, align_corners=False).sum(0)
        return image

    def _integrate(self, images: torch.Tensor, angles: torch.Tensor, through_rows: bool) -> torch.Tensor:
        """(N, steps, across) -> (views, N, bins); `images` are turned already so that a ray steps through axis 1."""
        row_mm, column_mm = self.spacing
        cos, sin = column_mm * torch.cos(angles), row_mm * torch.sin(angles)  # mm of offset a column, a row
        across, along = (cos, sin) if through_rows else (sin, cos)
        steps = _centred(images.shape[1])
        place = self.offsets[:, None] / across[:, None, None] - steps * (along / across)[:, None, None]
        grid = _grid(place, images.shape[2], steps, len(steps), images.dtype)
        taken = grid_sample(images.expand(len(angles), *images.shape), grid, align_corners=False)
        return taken.sum(-1) * (row_mm * column_mm / across.abs()).to(images)[:, None, None]

    def _blocks(self) -> Iterator[tuple[torch.Tensor, bool]]:
        """The views in their order, cut into runs that step through the same axis; and whether that is the rows."""
        row_mm, column_mm = self.spacing
        through_rows = column_mm * torch.cos(self.angles).abs() >= row_mm * torch.sin(self.angles).abs()
        size = max(2, _POINTS // (self.bins * max(self.shape)))
        for value, run in groupby(range(len(self.angles)), key=lambda k: bool(through_rows[k])):
            for angles in self.angles[list(run)].split(size):
                yield angles, value


def half_turn(views: int) -> torch.Tensor:
    """Angles of so many views spread evenly over half a turn, in radians."""
    return torch.arange(views, dtype=torch.float64) * (math.pi / views)


def _centred(count: int) -> torch.Tensor:
    """Places 0 .. count - 1, counted from their middle."""
    return torch.arange(count, dtype=torch.float64) - (count - 1) / 2


def _grid(x: torch.Tensor, width: int, y: torch.Tensor, height: int, dtype: torch.dtype) -> torch.Tensor:
    """Places in pixels from the middle -> (..., 2), the places as `grid_sample` wants them: the edges at -1 and 1."""
    grid = torch.empty(*x.shape, 2, dtype=dtype)
    grid[..., 0] = x * (2 / width)
    grid[..., 1] = y * (2 / height)
    return grid


def _ramp(length: int, bin_mm: float) -> torch.Tensor:
    """The ramp filter sampled in space and multiplied by the bin width, in wrap-around order; 1/mm."""
    n = torch.fft.fftfreq(length, 1 / length, dtype=torch.float64)
    ramp = torch.where(n % 2 == 1, -1 / (math.pi * n) ** 2, 0.0)
    ramp[0] = 0.25
    return ramp / bin_mm
