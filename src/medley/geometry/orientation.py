"""The geometry of a stack of slices: positions and orientations of DICOM to one affine, or a refusal.

All lengths are in mm. The coordinates of DICOM are LPS (towards the patient's left, posterior, superior);
`RAS_FROM_LPS` converts them, and is its own inverse.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medley.errors import MedleyError

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

# A slice is missing where a distance is at least this multiple of the usual one.
MISSING = 1.5
# Two slices at most this far apart are at the same place.
DOUBLED_MM = 0.01
# Largest relative deviation from the usual distance (PET beds overlap: 3.19 to 3.29 mm in one scan).
UNEVEN = 0.1
# Largest in-plane shift of a slice against the first, in pixels.
SIDEWAYS = 0.25
# Largest cosine of the angle between two axes that counts as a right angle (0.06 degrees).
SQUARE = 1e-3


def stack(
    positions: np.ndarray,
    orientation: np.ndarray,
    spacing: tuple[float, float],
    thickness: float | None,
    names: Sequence[str],
    where: object,
) -> tuple[list[int], np.ndarray]:
    """The order of slices along their normal, and the affine of the stack.

    Parameters
    ----------
    positions: (slice, 3), LPS mm, the centre of the first pixel of each slice (ImagePositionPatient).
    orientation: (6,), ImageOrientationPatient: the direction of increasing column, then of increasing row.
    spacing: mm from row to row, from column to column (PixelSpacing).
    thickness: mm, the depth of a voxel if there is only one slice.
    names: the names of the slices.  where: the series; both for messages.

    Returns
    -------
    order: indices into `positions`, along the cross product of the two directions.
    affine: (4, 4), (slice, row, column, 1) -> RAS mm, with the mean slice distance.

    Raises
    ------
    MedleyError: directions not at right angles; slices missing, doubled, unevenly spaced, or sheared (tilt).
    """
    along_row, along_column = orientation[:3], orientation[3:]
    if not np.allclose(
        [along_row @ along_row, along_column @ along_column, along_row @ along_column], [1, 1, 0], atol=1e-3
    ):
        raise MedleyError(
            f"{where}: ImageOrientationPatient is {orientation.tolist()}, expected two unit vectors at a right angle"
        )
    along_row = along_row / np.linalg.norm(along_row)
    along_column = along_column - (along_column @ along_row) * along_row
    along_column /= np.linalg.norm(along_column)
    normal = np.cross(along_row, along_column)

    heights = positions @ normal
    order = np.argsort(heights, kind="stable").tolist()
    distance = _distance(heights[order], [names[k] for k in order], where) if len(order) > 1 else thickness
    if not distance:
        raise MedleyError(f"{where}: a single slice needs SliceThickness, which is missing or 0")
    first = positions[order[0]]
    offsets = positions - first
    sideways = np.abs(np.stack([offsets @ along_row / spacing[1], offsets @ along_column / spacing[0]])).max()
    if sideways > SIDEWAYS:
        raise MedleyError(
            f"{where}: the stack is sheared (slices are shifted by up to {sideways:.1f} pixels in the plane, as with "
            "gantry tilt); medley does not resample: correct the tilt first"
        )
    affine = np.eye(4)
    affine[:3, 0] = normal * distance
    affine[:3, 1] = along_column * spacing[0]
    affine[:3, 2] = along_row * spacing[1]
    affine[:3, 3] = first
    return order, RAS_FROM_LPS @ affine


def _distance(heights: np.ndarray, names: Sequence[str], where: object) -> float:
    """The mean distance of slices at sorted heights (mm along the normal). Refuses an uneven stack."""
    steps = np.diff(heights)
    for k in np.flatnonzero(steps <= DOUBLED_MM)[:1]:
        raise MedleyError(
            f"{where}: two slices at the same place, {heights[k]:.2f} mm along the normal ({names[k]} and "
            f"{names[k + 1]}); expected one slice for each place: separate the volumes of this series first"
        )
    usual = float(np.median(steps))
    for k in np.flatnonzero(steps >= MISSING * usual)[:1]:
        raise MedleyError(
            f"{where}: slices are missing between {heights[k]:.2f} and {heights[k + 1]:.2f} mm along the normal "
            f"({names[k]} and {names[k + 1]}), the others are {usual:.2f} mm apart; complete the series first"
        )
    mean = float((heights[-1] - heights[0]) / len(steps))
    drift = np.abs(heights - heights[0] - mean * np.arange(len(heights))).max()
    if np.abs(steps - usual).max() > UNEVEN * usual or drift > 0.5 * mean:
        raise MedleyError(
            f"{where}: the slices are unevenly spaced ({steps.min():.2f} to {steps.max():.2f} mm); expected one "
            "distance throughout"
        )
    return mean


def check_square(affine: np.ndarray, where: object) -> None:
    """Refuse an affine whose axes are not at right angles.

    Raises
    ------
    MedleyError
    """
    columns = affine[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(affine).all() or not lengths.all():
        raise MedleyError(f"{where}: its affine {np.round(affine, 4).tolist()} is not one of a volume in space")
    cosines = np.abs((columns / lengths).T @ (columns / lengths) - np.eye(3)).max()
    if cosines > SQUARE:
        raise MedleyError(
            f"{where}: its axes are not at right angles (the cosine of two is {cosines:.3f}: gantry tilt or an affine "
            "registration); medley does not resample: resample it to a square grid first"
        )
