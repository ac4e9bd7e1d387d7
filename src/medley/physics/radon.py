"""Parallel-beam tomography of slices: line integrals, their adjoint, and filtered back-projection.

A slice has its origin in its middle; x runs along the columns, y along the rows, in mm. The ray of angle t and offset s
is the line x cos t + y sin t = s, s in mm.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from functools import cached_property
from itertools import groupby

import torch
from scipy.sparse import csr_matrix
from torch.nn.functional import grid_sample

# So many points are interpolated at once: enough to keep every core busy, few enough to stay in the processor's cache.
_POINTS = 1 << 17
# With up to so many weights the operator is kept as a sparse matrix (16 bytes a weight), many times faster. All views
# of 128 x 128 pixels have ten million.
_KEPT_WEIGHTS = 15_000_000


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
        if not self._small:
            return self._walk(images)
        rays = self._matrices[0] @ images.flatten(1).T.contiguous()  # (views * bins, N)
        return rays.T.reshape(len(images), len(self.angles), self.bins)

    def back_project(self, sinograms: torch.Tensor) -> torch.Tensor:
        """The adjoint of `project`: (N, views, bins) -> (N, rows, columns)."""
        if not self._small:
            zero = sinograms.new_zeros(len(sinograms), *self.shape)
            return torch.func.vjp(self._walk, zero)[1](sinograms)[0]
        pixels = self._matrices[1] @ sinograms.flatten(1).T.contiguous()  # (pixels, N)
        return pixels.T.reshape(len(sinograms), *self.shape)

    def filtered_back_projection(self, sinograms: torch.Tensor) -> torch.Tensor:
        """The image of line integrals: (N, views, bins) -> (N, rows, columns), per mm.

        The views must be spread evenly over half a turn. The ramp filter is sampled in space, so that the mean is
        right, and the filtered views are interpolated linearly.

        Source: Kak and Slaney, Principles of Computerized Tomographic Imaging (1988), sec. 3.3.3, eq. 61.
        """
        length = 1 << (2 * self.bins - 1).bit_length()  # long enough that the convolution does not wrap around
        ramp = torch.fft.rfft(_ramp(length, self.bin_mm)).real
        filtered = torch.fft.irfft(torch.fft.rfft(sinograms.double(), length) * ramp, length)[..., : self.bins]
        filtered = (filtered * (math.pi / len(self.angles))).to(sinograms).transpose(0, 1)  # (views, N, bins)
        rows, columns = (_centred(n) * mm for n, mm in zip(self.shape, self.spacing, strict=True))
        size = max(2, _POINTS // math.prod(self.shape))
        image = sinograms.new_zeros(len(sinograms), *self.shape)
        for views, angles in zip(filtered.split(size), self.angles.split(size), strict=True):
            offset = columns * torch.cos(angles)[:, None, None] + rows[:, None] * torch.sin(angles)[:, None, None]
            grid = _grid(offset / self.bin_mm, self.bins, torch.zeros(len(rows), 1), 1, views.dtype)
            for view in grid_sample(views[:, :, None], grid, align_corners=False):
                image += view  # one after the other: the rounding of a sum over views would depend on N
        return image

    def _walk(self, images: torch.Tensor) -> torch.Tensor:
        """`project` without the matrix, a block of views at a time."""
        turned = images.transpose(1, 2).contiguous()
        parts = []
        for angles, through_rows in self._blocks():
            stack = images if through_rows else turned  # (N, steps, across)
            place, length = self._places(angles, through_rows)
            grid = _grid(place, stack.shape[2], _centred(stack.shape[1]), stack.shape[1], images.dtype)
            taken = grid_sample(stack.expand(len(angles), *stack.shape), grid, align_corners=False)
            parts.append(taken.sum(-1) * length.to(images)[:, None, None])
        return torch.cat(parts).transpose(0, 1)

    def _places(self, angles: torch.Tensor, through_rows: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Where rays cross rows (or columns), in pixels from the middle, (views, bins, steps); mm a step, (views,)."""
        row_mm, column_mm = self.spacing
        x, y = column_mm * torch.cos(angles), row_mm * torch.sin(angles)  # mm of offset a column, a row
        across, along = (x, y) if through_rows else (y, x)
        steps = _centred(self.shape[0 if through_rows else 1])
        place = self.offsets[:, None] / across[:, None, None] - steps * (along / across)[:, None, None]
        return place, row_mm * column_mm / across.abs()

    @property
    def _small(self) -> bool:
        return 2 * len(self.angles) * self.bins * max(self.shape) <= _KEPT_WEIGHTS

    @cached_property
    def _matrices(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`project` as a sparse matrix, (views * bins, pixels), and its transpose; float32."""
        rays, pixels, weights = [], [], []
        first = 0
        for angles, through_rows in self._blocks():
            place, length = self._places(angles, through_rows)
            steps, width = self.shape if through_rows else self.shape[::-1]
            place += (width - 1) / 2
            ray = torch.arange(first, first + len(angles) * self.bins).view(len(angles), self.bins, 1).expand_as(place)
            first += len(angles) * self.bins
            step = torch.arange(steps).expand_as(place)
            for neighbour in (place.floor(), place.floor() + 1):
                inside = (neighbour >= 0) & (neighbour < width)
                across = neighbour[inside].long()
                pixel = (step[inside], across) if through_rows else (across, step[inside])
                rays.append(ray[inside])
                pixels.append(pixel[0] * self.shape[1] + pixel[1])
                weights.append(((1 - (place - neighbour).abs()) * length[:, None, None])[inside].float())
        size = (first, math.prod(self.shape))
        indices = (torch.cat(rays), torch.cat(pixels))
        value = torch.cat(weights)
        return _sparse(*indices, value, size), _sparse(*indices[::-1], value, size[::-1])

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


def _sparse(row: torch.Tensor, column: torch.Tensor, value: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    matrix = csr_matrix((value.numpy(), (row.numpy(), column.numpy())), size)  # sorts faster than torch does
    start, index, weight = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(start, index, weight, size=size, check_invariants=False)


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
