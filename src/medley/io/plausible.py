"""Plausibility checks on geometry and values, shared by all readers."""

from __future__ import annotations

import numpy as np

from medley.errors import MedleyError
from medley.geometry.orientation import check_square

SPACING_MM = (1e-3, 1e3)  # from the pixel of a slide scanner to more than any slice thickness
FARTHEST_MM = 1e6  # coordinates are relative to the patient or the scanner
LARGEST = 1e12  # magnitude of a value; the sum of squares of a volume still fits into float32


def check_grid(affine: np.ndarray, where: object) -> None:
    """Refuse an affine that is not finite, not at right angles, or has an impossible spacing or position.

    Parameters
    ----------
    affine: (4, 4), (slice, row, column, 1) -> mm.  where: the file, for the message.

    Raises
    ------
    MedleyError
    """
    with np.errstate(over="ignore", invalid="ignore"):
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = SPACING_MM
    if not ((spacing >= low) & (spacing <= high)).all():
        raise MedleyError(
            f"{where}: its voxels measure {_by(spacing)} mm; expected {low:g} to {high:g} mm along each axis: correct "
            "the spacing in its header"
        )
    if not np.abs(affine[:3, 3]).max() <= FARTHEST_MM:
        raise MedleyError(
            f"{where}: its first voxel is at {_by(affine[:3, 3], ', ')} mm; expected at most {FARTHEST_MM:g} mm from "
            "the origin: correct the position in its header"
        )
    check_square(affine, where)


def check_spacing(spacing: float | tuple[float, ...], what: str, where: object) -> None:
    """Refuse lengths of a header (mm) outside of `SPACING_MM`, NaN included; `what` is the name of the header field.

    Raises
    ------
    MedleyError
    """
    low, high = SPACING_MM
    values = np.atleast_1d(np.asarray(spacing, np.float64))
    if not ((values >= low) & (values <= high)).all():
        raise MedleyError(f"{where}: {what} is {_by(values)} mm; expected {low:g} to {high:g} mm")


def as_float32(values: np.ndarray, where: object) -> np.ndarray:
    """Values as float32; refuses NaN, infinite and impossibly large ones, also those that appear by the cast.

    Parameters
    ----------
    values: real numbers of any type and shape.  where: the file and slice, for the message.

    Raises
    ------
    MedleyError
    """
    with np.errstate(over="ignore", invalid="ignore"):
        cast = np.asarray(values, np.float32)
        # NaN propagates through min and max, so checking these two numbers is enough.
        low, high = (cast.min(), cast.max()) if cast.size else (0, 0)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise MedleyError(f"{where} holds NaN or infinite values; expected finite numbers")
    if max(-low, high) > LARGEST:
        raise MedleyError(f"{where} holds the value {max(low, high, key=abs):g}; expected magnitudes up to {LARGEST:g}")
    return cast


def _by(numbers: np.ndarray, between: str = " x ") -> str:
    return between.join(f"{number:g}" for number in numbers)
