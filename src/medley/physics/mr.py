"""MR at low resolution: the middle of k-space, zero-filled; and the way back onto a fine grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from medley.physics.base import Degradation, Limits, Spacing, noise_generator


class TruncatedMR(Degradation):
    """An MR scan as it had looked with only the middle of k-space measured.

    Along each in-plane axis the middle `keep` of the lines is kept, the rest set to zero, and the magnitude of the
    image taken: the grid stays, the detail goes. keep = 0.25 keeps 6.25 % of k-space.

    Parameters
    ----------
    keep: fraction of the lines kept along each in-plane axis, in (0, 1]; see `lines_kept`.
    noise: standard deviation of the noise in the real and in the imaginary part of the truncated image, in the scan's
        own unit; the magnitude is then Rician. Only measured lines carry noise.
    """

    name = "mr-truncation"
    modality = "MR"
    limits: ClassVar = {"keep": Limits(0.25, 0, 1), "noise": Limits(0.0, 0, closed=True)}

    def _degrade(
        self, slices: torch.Tensor, first: int, parameters: Mapping[str, Any], spacing: Spacing
    ) -> torch.Tensor:
        keep, noise = parameters["keep"], parameters["noise"]
        image = truncate(slices, keep)
        if noise == 0:
            return image.abs()
        rows, columns = slices.shape[1:]
        share = lines_kept(rows, keep) * lines_kept(columns, keep) / (rows * columns)
        white = [noise_generator(parameters, first + k).standard_normal((2, rows, columns)) for k in range(len(slices))]
        parts = truncate(torch.from_numpy(np.stack(white)).float(), keep) * (noise / math.sqrt(share))
        return torch.hypot(image + parts[:, 0], parts[:, 1])


def lines_kept(lines: int, keep: float) -> int:
    """How many of so many k-space lines are kept: keep * lines, rounded, and one less if that is even.

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
    """The same image on a grid `scale` times finer in the plane: k-space is filled up with zeros around it.

    The values are kept: pixel (i, j) is found again at (scale * i, scale * j). So the middle of the first pixel stays
    where it was, and the last new pixel reaches (scale - 1) / scale of an old one beyond the last old one;
    `refined_affine` says the same as an affine. An even axis has a single line at the highest frequency; it is shared
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
    """The affine, (slice, row, column, 1) -> mm, of a volume whose slices went through `refine_grid`."""
    return np.asarray(affine, np.float64) @ np.diag([1, 1 / scale, 1 / scale, 1])


def _central(stack: torch.Tensor, kept: tuple[int, int]) -> torch.Tensor:
    """The image of the `kept` (rows, columns) central lines of k-space; (..., rows, columns) -> the same shape."""
    spectrum = torch.fft.rfft2(stack.double())
    rows, columns = stack.shape[-2:]
    inside = _inside(rows, kept[0])[:, None] & _inside(columns, kept[1])[: spectrum.shape[-1]]
    return torch.fft.irfft2(spectrum * inside, (rows, columns)).to(stack.dtype)


def _symmetric(lines: int, kept: int) -> int:
    """The largest number of central lines, up to `kept`, that is symmetric about the centre; at least one."""
    return lines if kept >= lines else max(1, kept - 1 + kept % 2)


def _inside(lines: int, kept: int) -> torch.Tensor:
    """Which lines are kept, in the order of the FFT; bool (lines,)."""
    frequency = torch.fft.fftfreq(lines, 1 / lines)
    return frequency.abs() <= _symmetric(lines, kept) / 2


def _refine_axis(image: torch.Tensor, scale: int) -> torch.Tensor:
    lines = image.shape[-1]
    spectrum = torch.fft.rfft(image)
    if lines % 2 == 0 and scale > 1:
        spectrum[..., -1] /= 2  # irfft mirrors it, so that both signs get a half
    return torch.fft.irfft(spectrum, lines * scale) * scale
