"""MR at low resolution: part of k-space, zero-filled; and interpolation onto a finer grid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from medley.errors import MedleyError
from medley.physics.base import Degradation, Spacing, noise_generator
from medley.physics.parameters import Limits, either

_Complex = tuple[torch.Tensor, torch.Tensor]  # real and imaginary part


class TruncatedMR(Degradation):
    """An MR scan simulated with only a part of k-space measured.

    Along each in-plane axis the central `keep` of the lines is kept; the rest is set to zero, and the magnitude of the
    image is taken. The grid stays the same. keep = 0.25 keeps 6.25 % of k-space. The target is the scan itself.

    Parameters
    ----------
    keep: fraction of the lines kept along each in-plane axis, in (0, 1]; see `lines_kept`.
    keep_columns: this fraction along the columns, where it differs from that along the rows (`keep`); None for equal.
    partial_fourier: fraction of the kept lines that is measured along the phase axis, in [0.5, 1]: from the highest
        frequency downwards, at least to the centre. The image is then complex before its magnitude is taken.
    phase: the axis of phase encoding, rows or columns.
    noise: standard deviation of the noise in the real and in the imaginary part of the truncated image, in the scan's
        own unit; the magnitude is then Rician. Only measured lines carry noise.
    noise_percent: the same in percent of `signal`, for scans whose units differ; not together with `noise`.
    signal: the signal level of the scan in its own unit; None measures it (see `signal_level`) in the scan or array
        that is degraded. The slices of a scan that is processed in pieces need it.
    """

    name = "mr-truncation"
    modality = "MR"
    strength_name = "kept fraction of k-space along each axis"
    limits: ClassVar = {
        "keep": Limits(0.25, 0, 1),
        "noise": Limits(0.0, 0, closed=True),
        "keep_columns": Limits(None, 0, 1, optional=True, implied=True),
        "partial_fourier": Limits(1.0, 0.5, 1, closed=True, implied=True),
        "phase": either("rows", "columns", implied=True),
        "noise_percent": Limits(0.0, 0, 1000, closed=True, implied=True),
        "signal": Limits(None, 0, optional=True, implied=True),
    }
    none: ClassVar = {"keep": 1.0, "noise": 0.0, "keep_columns": None, "partial_fourier": 1.0, "noise_percent": 0.0}

    @classmethod
    def strength(cls, parameters: Mapping[str, Any]) -> float:
        """The square root of the measured fraction of k-space: 0.25 if a quarter is kept along each axis."""
        full = cls.complete(parameters)
        columns = full["keep"] if full["keep_columns"] is None else full["keep_columns"]
        return math.sqrt(full["keep"] * columns * full["partial_fourier"])

    @classmethod
    def _check_together(cls, parameters: Mapping[str, Any]) -> None:
        if parameters["noise"] and parameters["noise_percent"]:
            raise MedleyError(f"{cls.name} takes noise or noise_percent, not both; give one of the two")

    def _measure(self, slices: Iterable[np.ndarray], parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        if parameters["noise_percent"] == 0:
            return parameters
        signal = signal_level(slices) if parameters["signal"] is None else parameters["signal"]
        return {**parameters, "noise": parameters["noise_percent"] / 100 * signal}

    def _degrade(
        self, slices: torch.Tensor, first: int, parameters: Mapping[str, Any], spacing: Spacing
    ) -> torch.Tensor:
        rows, columns = slices.shape[1:]
        keep, partial, noise = parameters["keep"], parameters["partial_fourier"], parameters["noise"]
        keep_columns = keep if parameters["keep_columns"] is None else parameters["keep_columns"]
        lines = [_inside(rows, round(keep * rows)), _inside(columns, round(keep_columns * columns))]
        phase = 0 if parameters["phase"] == "rows" else 1
        if partial < 1:
            lines[phase] = _upper(lines[phase], partial)
        if noise == 0 and all(kept.all() for kept in lines):
            return slices
        measure = _real_part if partial == 1 else _complex_part
        image = measure(slices, None, *lines)
        if noise == 0:
            return torch.hypot(*image)
        share = math.prod(float(kept.sum()) for kept in lines) / (rows * columns)
        white = [noise_generator(parameters, first + k).standard_normal((2, rows, columns)) for k in range(len(slices))]
        real, imaginary = torch.from_numpy(np.stack(white)).float().unbind(1)
        noisy = measure(real, imaginary, *lines)
        return torch.hypot(*(part + one * (noise / math.sqrt(share)) for part, one in zip(image, noisy, strict=True)))


def signal_level(slices: Iterable[np.ndarray]) -> float:
    """The signal level of a scan: the largest 99th percentile of a slice. Slices are (row, column)."""
    return max((float(np.percentile(one, 99)) for one in slices), default=0.0)


def lines_kept(lines: int, keep: float) -> int:
    """The number of k-space lines that are kept: keep * lines, rounded, and one less if that is even.

    An odd number is symmetric about the centre, so that the image stays real.
    """
    return _symmetric(lines, round(keep * lines))


def truncate(stack: torch.Tensor, keep: float) -> torch.Tensor:
    """Only the central part of k-space: (..., rows, columns) -> the same shape, real. A linear projection."""
    rows, columns = stack.shape[-2:]
    return _central(stack, (round(keep * rows), round(keep * columns)))


def keep_measured(restored: np.ndarray, measured: np.ndarray, lines: tuple[int, int]) -> np.ndarray:
    """The restored image with the measured part of k-space put back.

    Parameters
    ----------
    restored, measured: (slice, row, column) or (row, column), float32; `measured` is the input of the network.
    lines: how many of the central k-space lines along (rows, columns) were measured. An even number that is less than
        that of the grid counts as one less, which is symmetric about the centre.

    Returns
    -------
    restored + T(measured - restored), where T keeps the measured lines only: `measured` inside of them, `restored`
    outside. It may be slightly negative.
    """
    difference = torch.from_numpy(np.asarray(measured, np.float32) - np.asarray(restored, np.float32))
    return restored + _central(difference, lines).numpy()


def refine_grid(stack: np.ndarray, scale: int) -> np.ndarray:
    """The same image on a grid `scale` times finer in the plane: k-space is padded with zeros.

    The values are kept: pixel (i, j) is at (scale * i, scale * j) in the result. So the centre of the first pixel does
    not move, and the centre of the last new pixel is (scale - 1) / scale of an old pixel beyond that of the last old
    one; `refined_affine` gives the affine. An even axis has a single line at the highest frequency; it is shared
    between both signs, which keeps the image real.

    Parameters
    ----------
    stack: (slice, row, column) or (row, column), float32.
    scale: whole number from 1.

    Returns
    -------
    (slice, scale * row, scale * column) or (scale * row, scale * column), float32.
    """
    if scale != int(scale) or scale < 1:
        raise ValueError(f"a grid is refined by a whole number from 1, not by {scale}")
    image = torch.from_numpy(np.asarray(stack, np.float64))
    for axis in (-2, -1):
        image = _refine_axis(image.movedim(axis, -1), scale).movedim(-1, axis)
    return image.float().contiguous().numpy()


def refined_affine(affine: np.ndarray, scale: int) -> np.ndarray:
    """The affine, (slice, row, column, 1) -> mm, of a volume after `refine_grid` was applied to its slices."""
    return np.asarray(affine, np.float64) @ np.diag([1, 1 / scale, 1 / scale, 1])


def _central(stack: torch.Tensor, kept: tuple[int, int]) -> torch.Tensor:
    """The image of the `kept` (rows, columns) central lines of k-space; (..., rows, columns) -> the same shape."""
    rows, columns = stack.shape[-2:]
    return _filtered(stack, _inside(rows, kept[0]), _inside(columns, kept[1]))


def _filtered(stack: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """The image of some lines of k-space, chosen symmetrically about the centre; (..., rows, columns), real."""
    spectrum = torch.fft.rfft2(stack.double())
    inside = rows[:, None] & columns[: spectrum.shape[-1]]
    return torch.fft.irfft2(spectrum * inside, stack.shape[-2:]).to(stack.dtype)


def _real_part(real: torch.Tensor, imaginary: torch.Tensor | None, *lines: torch.Tensor) -> _Complex:
    """As `_complex_part`, for lines chosen symmetrically about the centre: real images stay real."""
    return _filtered(real, *lines), torch.zeros_like(real) if imaginary is None else _filtered(imaginary, *lines)


def _complex_part(
    real: torch.Tensor, imaginary: torch.Tensor | None, rows: torch.Tensor, columns: torch.Tensor
) -> _Complex:
    """The image of some lines of k-space, (N, rows, columns); real and imaginary part (None: zero) separately."""
    image = torch.complex(real.double(), torch.zeros_like(real.double()) if imaginary is None else imaginary.double())
    measured = torch.fft.ifft2(torch.fft.fft2(image) * (rows[:, None] & columns))
    return measured.real.to(real.dtype), measured.imag.to(real.dtype)


def _symmetric(lines: int, kept: int) -> int:
    """The largest number of central lines, up to `kept`, that is symmetric about the centre; at least one."""
    return lines if kept >= lines else max(1, kept - 1 + kept % 2)


def _inside(lines: int, kept: int) -> torch.Tensor:
    """Which lines are kept, in the order of the FFT; bool (lines,)."""
    frequency = torch.fft.fftfreq(lines, 1 / lines)
    return frequency.abs() <= _symmetric(lines, kept) / 2


def _upper(kept: torch.Tensor, fraction: float) -> torch.Tensor:
    """The fraction of the kept lines with the highest frequencies, at least to the centre; bool (lines,)."""
    frequency = torch.fft.fftfreq(len(kept), 1 / len(kept))
    count = int(kept.sum())
    measured = max((count + 1) // 2, round(fraction * count))
    return kept & (frequency >= frequency[kept].sort(descending=True).values[measured - 1])


def _refine_axis(image: torch.Tensor, scale: int) -> torch.Tensor:
    lines = image.shape[-1]
    spectrum = torch.fft.rfft(image)
    if lines % 2 == 0 and scale > 1:
        spectrum[..., -1] /= 2  # irfft mirrors it, so that both signs get a half
    return torch.fft.irfft(spectrum, lines * scale) * scale
