"""What the source of a scan says: which part of k-space was measured, whether medley made it; and its finer grid."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from medley.errors import MedleyError, MedleyNotice
from medley.physics import mr
from medley.tasks import Task
from medley.volume import Slices, Volume


def notify_if_processed(volume: Volume) -> None:
    """Warn with a `MedleyNotice` if a series was restored by medley; a series that medley degraded is accepted."""
    processed = getattr(volume.source, "processed", "")
    if processed and " degraded by " not in processed:
        warnings.warn(
            f"the series was written by medley before ({processed}); restoring it again removes more detail: use the "
            "original series if that is not intended",
            MedleyNotice,
            stacklevel=4,
        )


def measured_lines(volume: Volume, given: tuple[int, int] | None) -> tuple[int, int]:
    """The central k-space lines along (rows, columns) that were measured: as given, or as in the header of the scan.

    Raises
    ------
    MedleyError: it is neither given nor in the header, or more lines are given than the grid has.
    """
    rows, columns = volume.shape[1:]
    if given is None:
        source = volume.source
        if not hasattr(source, "measured"):
            raise MedleyError(
                "the file does not say which part of k-space was measured, so it cannot be kept; give it with "
                f"--measured ROWSxCOLUMNS (the grid is {rows}x{columns})"
            )
        return source.measured()
    if not (1 <= given[0] <= rows and 1 <= given[1] <= columns):
        raise MedleyError(
            f"the measured part of k-space is given as {given[0]}x{given[1]} lines, but the grid of the scan is "
            f"{rows}x{columns}; expected at most as many"
        )
    return given


def refuse_implausible(volume: Volume, task: Task) -> None:
    """Refuse a scan of unknown modality if its values contradict the task."""
    ends = np.array([(np.min(one), np.max(one)) for one in volume.data], np.float64)  # one pass: slices may be streamed
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    found = f"the file does not say its modality, and its values, {low:g} to {high:g},"
    if task.modality == "CT" and (low > -200 or high > 1e5):
        raise MedleyError(f"{found} are not a CT's in HU: air, about -1000, is missing; convert them to HU first")
    if task.modality == "PT" and (low < -1 or high > 1000):
        raise MedleyError(
            f"{found} are not a PET's in SUV, which are from 0 to at most hundreds; convert them to SUV first"
        )
    if task.grey and low < 0:
        raise MedleyError(f"{found} are not grey levels, which are not negative")
    if task.modality == "MR" and low < -0.1 * high:
        raise MedleyError(f"{found} are not an MR magnitude image's, which are not negative")


def on_finer_grid(volume: Volume, scale: int) -> Volume:
    """The scan with k-space padded to a grid that is `scale` times finer in the plane."""
    if scale == 1:
        return volume
    slices, rows, columns = volume.shape

    def make() -> Iterator[np.ndarray]:
        return (mr.refine_grid(one, scale) for one in volume.data)

    finer = Slices((slices, rows * scale, columns * scale), make)
    return volume.with_data(finer, affine=mr.refined_affine(volume.affine, scale))
