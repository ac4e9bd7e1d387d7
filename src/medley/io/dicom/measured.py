"""The part of k-space from which an MR scan was reconstructed, as far as its header states it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medley.errors import MedleyError

_HINT = "give the measured part with --measured ROWSxCOLUMNS"


def measured_lines(
    find: Callable[[str], Any], size: tuple[int, int], spacing: tuple[float, float], where: object
) -> tuple[int, int]:
    """How many of the central k-space lines along (rows, columns) of the image were measured.

    The grid of an image is often finer than the measurement: the scanner fills k-space with zeros. AcquisitionMatrix
    has the number of samples in the frequency and in the phase direction, InPlanePhaseEncodingDirection states which is
    which (COL: the phase changes from row to row). PercentSampling and PercentPhaseFieldOfView reduce the lines in the
    phase direction (PS3.3 C.8.3.1). Scanners count them differently, so the smaller number is taken where two readings
    are possible: all returned lines were measured.

    Parameters
    ----------
    find: keyword -> value of the series as `medley.io.dicom.consistency.constants` gives it (None when absent).
    size, spacing: of the image: (rows, columns), and mm from row to row and from column to column.

    Raises
    ------
    MedleyError: the header does not state it, or only a part of the lines was measured that is not symmetric about the
        centre (partial Fourier).
    """
    direction = str(find("InPlanePhaseEncodingDirection") or "").upper()
    if direction not in ("ROW", "COL", "COLUMN"):
        raise MedleyError(
            f"{where}: InPlanePhaseEncodingDirection is {direction or 'missing'}, so it is not known which part of "
            f"k-space was measured; {_HINT}"
        )
    _check_trajectory(find, where)
    frequency, phase = _samples(find, where)
    phase_axis = 1 if direction == "ROW" else 0
    extent = [count * step for count, step in zip(size, spacing, strict=True)]
    shown = 100 * extent[phase_axis] / extent[1 - phase_axis]  # percent of the frequency direction in the image
    percent = float(find("PercentPhaseFieldOfView") or shown)
    sampled = min(float(find("PercentSampling") or 100), 100.0) / 100
    if not (percent > 0 and sampled > 0):
        raise MedleyError(f"{where}: PercentPhaseFieldOfView or PercentSampling is not positive; {_HINT}")
    lines = [0, 0]
    lines[1 - phase_axis] = frequency
    lines[phase_axis] = round(phase * sampled * min(1.0, shown / percent))
    if min(lines) < 1:
        raise MedleyError(f"{where}: by its header no line of k-space was measured; {_HINT}")
    return min(lines[0], size[0]), min(lines[1], size[1])


def _samples(find: Callable[[str], Any], where: object) -> tuple[int, int]:
    """Samples in the frequency and in the phase direction."""
    matrix = find("AcquisitionMatrix")
    if matrix is not None:
        if not isinstance(matrix, tuple) or len(matrix) != 4:
            raise MedleyError(f"{where}: AcquisitionMatrix is {matrix}, expected four numbers; {_HINT}")
        frequency, phase = (int(max(matrix[k], matrix[k + 1])) for k in (0, 2))
    else:
        frequency = int(find("MRAcquisitionFrequencyEncodingSteps") or 0)
        phase = int(find("MRAcquisitionPhaseEncodingStepsInPlane") or 0)
    if frequency < 1 or phase < 1:
        raise MedleyError(f"{where}: AcquisitionMatrix is missing or empty; {_HINT}")
    return frequency, phase


def _check_trajectory(find: Callable[[str], Any], where: object) -> None:
    """Only whole Cartesian k-space is a rectangle of lines about the centre."""
    trajectory = str(find("GeometryOfKSpaceTraversal") or "RECTILINEAR").upper()
    if trajectory != "RECTILINEAR":
        raise MedleyError(f"{where}: GeometryOfKSpaceTraversal is {trajectory}, expected RECTILINEAR; {_HINT}")
    options = find("ScanOptions") or ()
    options = {str(one).upper() for one in ([options] if isinstance(options, str) else options)}
    direction = str(find("PartialFourierDirection") or "").upper()
    partial = str(find("PartialFourier") or "").upper() == "YES" and direction != "SLICE"
    if partial or options & {"PFP", "PFF"}:
        raise MedleyError(
            f"{where}: was measured with partial Fourier, and its header does not say how much of k-space was left "
            f"out; {_HINT}"
        )
