"""Parallel-beam tomography of slices: line integrals, their adjoint, and filtered back-projection.

The origin of a slice is at its centre; x runs along the columns and y along the rows, in mm. The ray with angle t and
offset s is the line x cos t + y sin t = s, with s in mm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property, partial
from itertools import groupby

import torch
from scipy.sparse import csc_matrix, csr_matrix
from torch.nn.functional import grid_sample

from medley.physics.kernels import kernel_window

# Number of points interpolated at once: enough to keep all cores busy, few enough to stay in the processor's cache.
_POINTS = 1 << 17
# Up to this number of weights, the operator is stored as a sparse matrix (8 bytes per weight), which is many times
# faster. All views of 128 x 128 pixels have ten million weights.
_STORED_WEIGHTS = 15_000_000


class ParallelBeam:
    """Joseph's projector for one grid and one set of views; it takes slices in batches.

    A ray is followed through the rows, or through the columns if its angle to them is larger. In each row the image is
    interpolated linearly between two pixels; the sum of these values is multiplied by the length of a step.

    The results for a slice do not depend on the other slices of the batch nor on the number of threads: for the same
    processor and the same versions of scipy and PyTorch they are bit-identical. Other processors or versions may round
    differently (relative differences of about 1e-6).

    Source: Joseph, IEEE Trans. Med. Imaging 1 (1982) 192.

    Parameters
    ----------
    shape: (rows, columns) of a slice.
    spacing: (row_mm, column_mm), distance between neighbouring rows and between neighbouring columns.
    angles: (views,), in radians.
    bin_mm: distance between neighbouring rays of a view; by default the smaller pixel side. A view has `bins` rays,
        enough to cover the diagonal of the slice.
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
            return self._interpolate(images)
        return _multiply(self._matrix, images).reshape(len(images), len(self.angles), self.bins)

    def back_project(self, sinograms: torch.Tensor) -> torch.Tensor:
        """The adjoint of `project`: (N, views, bins) -> (N, rows, columns)."""
        if not self._small:
            adjoint = torch.func.vjp(partial(self._interpolate, separate=True), sinograms.new_zeros(1, *self.shape))[1]
            # Slice by slice, because the rounding of PyTorch's sums over views could depend on N.
            return torch.cat([adjoint(one[None])[0] for one in sinograms])
        return _multiply(self._matrix.T, sinograms).reshape(len(sinograms), *self.shape)

    def filtered_back_projection(self, sinograms: torch.Tensor, kernel: str = "ramp") -> torch.Tensor:
        """The image with the given line integrals: (N, views, bins) -> (N, rows, columns), per mm.

        The views must be spaced evenly over half a turn. The ramp filter is sampled in space, so that the mean is
        correct, and multiplied by the window of the kernel (see `kernel_window`). The filtered views are interpolated
        linearly.

        Source: Kak and Slaney, Principles of Computerized Tomographic Imaging (1988), sec. 3.3.3, eq. 61.
        """
        length = 1 << (2 * self.bins - 1).bit_length()  # long enough that the convolution does not wrap around
        nyquist = torch.linspace(0, 1, length // 2 + 1, dtype=torch.float64)
        ramp = torch.fft.rfft(_ramp(length, self.bin_mm)).real * kernel_window(kernel, nyquist)
        filtered = torch.empty_like(sinograms)
        for result, one in zip(filtered, sinograms, strict=True):  # the rounding of a larger FFT could depend on N
            result[...] = torch.fft.irfft(torch.fft.rfft(one.double(), length) * ramp, length)[:, : self.bins]
        filtered = (filtered * (math.pi / len(self.angles))).transpose(0, 1)  # (views, N, bins)
        rows, columns = (_centred(n) * mm for n, mm in zip(self.shape, self.spacing, strict=True))
        size = max(2, _POINTS // math.prod(self.shape))
        grid = _Grid((size, *self.shape), self.bins, torch.zeros(len(rows), 1), 1, filtered.dtype)
        image = sinograms.new_zeros(len(sinograms), *self.shape)
        for views, angles in zip(filtered.split(size), self.angles.split(size), strict=True):
            places = grid.places(len(angles))
            torch.add(
                columns * torch.cos(angles)[:, None, None], rows[:, None] * torch.sin(angles)[:, None, None], out=places
            )
            places /= self.bin_mm
            for view in grid_sample(views[:, :, None], grid.filled(len(angles)), align_corners=False):
                image += view  # one at a time: the rounding of a sum over views would depend on N
        return image

    def _interpolate(self, images: torch.Tensor, separate: bool = False) -> torch.Tensor:
        """`project` without the matrix, a block of views at a time.

        With `separate`, each block has its own grid, because the derivative needs all of them.
        """
        turned = images.transpose(1, 2).contiguous()
        grids = {through_rows: self._grid(through_rows, images.dtype) for through_rows in (True, False)}
        parts = []
        for angles, through_rows in self._blocks():
            stack = images if through_rows else turned  # (N, steps, across)
            grid = self._grid(through_rows, images.dtype) if separate else grids[through_rows]
            _, length = self._places(angles, through_rows, grid.places(len(angles)))
            taken = grid_sample(stack.expand(len(angles), *stack.shape), grid.filled(len(angles)), align_corners=False)
            parts.append(taken.sum(-1) * length.to(images)[:, None, None])
        return torch.cat(parts).transpose(0, 1)

    def _grid(self, through_rows: bool, dtype: torch.dtype) -> _Grid:
        steps, across = self.shape if through_rows else self.shape[::-1]
        return _Grid((self._views_at_once, self.bins, steps), across, _centred(steps), steps, dtype)

    def _places(
        self, angles: torch.Tensor, through_rows: bool, out: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Where rays cross rows (or columns), pixels from the centre, (views, bins, steps); mm per step, (views,)."""
        row_mm, column_mm = self.spacing
        x, y = column_mm * torch.cos(angles), row_mm * torch.sin(angles)  # mm of offset per column and per row
        across, along = (x, y) if through_rows else (y, x)
        steps = _centred(self.shape[0 if through_rows else 1])
        first = self.offsets[:, None] / across[:, None, None]
        place = torch.sub(first, steps * (along / across)[:, None, None], out=out)
        return place, row_mm * column_mm / across.abs()

    @property
    def _views_at_once(self) -> int:
        return max(2, _POINTS // (self.bins * max(self.shape)))

    @property
    def _small(self) -> bool:
        return 2 * len(self.angles) * self.bins * max(self.shape) <= _STORED_WEIGHTS

    @cached_property
    def _matrix(self) -> csr_matrix:
        """`project` as a sparse matrix, (views * bins, pixels), float32."""
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
        indices = (torch.cat(rays).numpy(), torch.cat(pixels).numpy())
        return csr_matrix((torch.cat(weights).numpy(), indices), (first, math.prod(self.shape)))

    def _blocks(self) -> Iterator[tuple[torch.Tensor, bool]]:
        """Consecutive views that step through the same axis, and whether that axis is the rows."""
        row_mm, column_mm = self.spacing
        through_rows = column_mm * torch.cos(self.angles).abs() >= row_mm * torch.sin(self.angles).abs()
        for value, run in groupby(range(len(self.angles)), key=lambda k: bool(through_rows[k])):
            for angles in self.angles[list(run)].split(self._views_at_once):
                yield angles, value


def half_turn(views: int) -> torch.Tensor:
    """Angles of `views` views spaced evenly over half a turn, in radians."""
    return torch.arange(views, dtype=torch.float64) * (math.pi / views)


def _centred(count: int) -> torch.Tensor:
    """Positions 0 .. count - 1 relative to their centre."""
    return torch.arange(count, dtype=torch.float64) - (count - 1) / 2


def _multiply(matrix: csr_matrix | csc_matrix, images: torch.Tensor) -> torch.Tensor:
    """(N, ...) -> (N, rows of the matrix).

    With scipy, because it adds the terms of each value in a fixed order. MKL, which PyTorch uses, chooses the order by
    the size of the batch and the type of processor.
    """
    columns = images.flatten(1).T.contiguous().numpy()
    return torch.from_numpy(matrix @ columns).to(images).T.contiguous()


class _Grid:
    """Positions for `grid_sample`, in memory that is used again for every block of views.

    Parameters
    ----------
    shape: (most views, ...) of the positions.
    width, height: of the image from which `grid_sample` takes its values.
    y: position across the height, in pixels from the centre; the same for all views.
    """

    def __init__(
        self, shape: tuple[int, int, int], width: int, y: torch.Tensor, height: int, dtype: torch.dtype
    ) -> None:
        self._width = width
        self._places = torch.empty(shape, dtype=torch.float64)
        self._grid = torch.empty(*shape, 2, dtype=dtype)
        self._grid[..., 1] = y * (2 / height)

    def places(self, views: int) -> torch.Tensor:
        """(views, ...) float64, to be filled with positions along the width, in pixels from the centre."""
        return self._places[:views]

    def filled(self, views: int) -> torch.Tensor:
        """(views, ..., 2): the positions in the units of `grid_sample`, with the edges at -1 and 1."""
        self._grid[:views, ..., 0] = self._places[:views].mul_(2 / self._width)
        return self._grid[:views]


def _ramp(length: int, bin_mm: float) -> torch.Tensor:
    """The ramp filter sampled in space and multiplied by the bin width, in wrap-around order; 1/mm."""
    n = torch.fft.fftfreq(length, 1 / length, dtype=torch.float64)
    ramp = torch.where(n % 2 == 1, -1 / (math.pi * n) ** 2, 0.0)
    ramp[0] = 0.25
    return ramp / bin_mm
