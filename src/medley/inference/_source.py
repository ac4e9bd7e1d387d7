"""What the source of a scan says about it: which part of k-space was measured, and whether medley made it."""

from __future__ import annotations

import warnings

from medley.errors import MedleyError, MedleyNotice
from medley.volume import Volume


def notify_if_processed(volume: Volume) -> None:
    """Warn with a `MedleyNotice` where a series was restored by medley. One that medley degraded is to be restored."""
    processed = getattr(volume.source, "processed", "")
    if processed and " degraded by " not in processed:
        warnings.warn(
            f"the series was written by medley before ({processed}); restoring it again removes more detail: use the "
            "original series if that is not intended",
            MedleyNotice,
            stacklevel=4,
        )


def measured_lines(volume: Volume, given: tuple[int, int] | None) -> tuple[int, int]:
    """The central k-space lines along (rows, columns) that were measured: as given, else by the header of the scan.

    Raises
    ------
    MedleyError: neither says it, or more lines are given than the grid has.
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
