"""Where slices lie: from DICOM's positions to one affine, and what cannot be one.

Millimetres everywhere. DICOM's coordinates are LPS (to the patient's Left, Posterior, Superior); `RAS_FROM_LPS` turns
them: here for reading, in `dicom_image` for writing, and where contours and doses meet a scan (`rtstruct`, `rtdose`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medley.errors import MedleyError

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

# A slice counts as missing where a distance is this many times the usual one,
MISSING = 1.5
# as doubled where it is this part of a millimetre or less,
DOUBLED_MM = 0.01
# and distances may differ from the usual one by this part (PET beds overlap: 3.19 to 3.29 mm in one scan).
UNEVEN = 0.1
# A slice may lie beside the line through the first along the normal by this part of a pixel.
SIDEWAYS = 0.25
# Cosine of the angle between two axes that still counts as a right angle (0.06 degrees).
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
    positions: (slice, 3), LPS mm: the centre of the first pixel of each (ImagePositionPatient).
    orientation: (6,): ImageOrientationPatient, the direction of growing column, then of growing row.
    spacing: mm from row to row, from column to column (PixelSpacing).
    thickness: mm; the depth of a voxel when there is only one slice.
    names: of the slices, for messages; `where`: the series, for messages.

    Returns
    -------
    order: indices into `positions`, along the cross product of the two directions.
    affine: (4, 4), (slice, row, column, 1) -> RAS mm. Its slice distance is the mean one.

    Raises
    ------
    MedleyError: directions not at right angles, slices missing, doubled, unevenly spaced, or stacked sideways (tilt).
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
        raise MedleyError(f"{where}: a single slice without SliceThickness has no depth; the tag is needed")
    first = positions[order[0]]
    offsets = positions - first
    sideways = np.abs(np.stack([offsets @ along_row / spacing[1], offsets @ along_column / spacing[0]])).max()
    if sideways > SIDEWAYS:
        raise MedleyError(
            f"{where}: the slices are stacked aslant (up to {sideways:.1f} pixels beside their normal, as with gantry "
            "tilt); medley does not resample: correct the tilt first"
        )
    affine = np.eye(4)
    affine[:3, 0] = normal * distance
    affine[:3, 1] = along_column * spacing[0]
    affine[:3, 2] = along_row * spacing[1]
    affine[:3, 3] = first
    return order, RAS_FROM_LPS @ affine


def _distance(heights: np.ndarray, names: Sequence[str], where: object) -> float:
    """The mean distance of slices at sorted heights (mm along the normal); raises where they are no even stack."""
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
    """Refuse an affine whose axes are not three directions at right angles.

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
