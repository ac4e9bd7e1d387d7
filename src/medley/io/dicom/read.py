"""A DICOM series -> Volume, a slice at a time. Everything is checked from headers before a pixel is decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from medley.errors import MedleyError
from medley.geometry.orientation import stack
from medley.io.archive import Extracted
from medley.io.dicom.consistency import check_consistent
from medley.io.dicom.decode import stored_frames
from medley.io.dicom.frames import Frame
from medley.io.dicom.headers import reading
from medley.io.dicom.measured import measured_lines
from medley.io.dicom.planar import PLANAR, in_sequence
from medley.io.dicom.series import Series, frames_of_all
from medley.io.dicom.suv import suv_factor
from medley.io.plausible import as_float32, check_grid
from medley.runtime import guard
from medley.volume import Slices, Volume

UNITS = {"CT": "HU", "MR": "a.u.", "PT": "SUV", **dict.fromkeys(PLANAR, "grey levels")}
# Directions (cosines) and pixel spacings (parts) of one series may differ by rounding only.
_SAME = 1e-3


@dataclass(frozen=True)
class DicomSource:
    """What the writer needs of the series a volume was read from.

    Attributes
    ----------
    frames: the slices in the order of the volume.
    affine: as read.
    factor: SUV of one unit of the file; 1 for other scans than PET.
    extracted: the unpacked zip, kept as long as this exists.
    """

    frames: tuple[Frame, ...]
    affine: np.ndarray
    factor: float
    extracted: Extracted | None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, each once."""
        return tuple(dict.fromkeys(frame.path for frame in self.frames))

    @property
    def processed(self) -> str:
        """How medley derived the series, or "" for one that medley did not write."""
        return self.frames[0].processed

    def measured(self) -> tuple[int, int]:
        """The central k-space lines along (rows, columns) that were measured; see `measured_lines`."""
        first = self.frames[0]
        return measured_lines(first.constants.get, first.size, first.spacing, first.path)


def open_series(files: Iterable[Path], where: object, extracted: Extracted | None = None) -> Volume:
    """The images of one series as a volume; see `open_frames`. The headers of the files are read."""
    return open_frames(frames_of_all(files), where, extracted)


def open_found(series: Series, where: object, extracted: Extracted | None = None) -> Volume:
    """A series found by `series_among` as a volume; see `open_frames`. No header is read again.

    Raises
    ------
    MedleyError: as for `open_frames`, and if a file of the series cannot be used.
    """
    if series.faults:
        raise MedleyError(series.faults[0])
    folders = dict.fromkeys(file.parent for file in series.files)
    try:
        return open_frames(series.frames, where, extracted)
    except MedleyError as error:
        if extracted or len(folders) == 1:
            raise
        listed = ", ".join(str(folder) for folder in list(folders)[:3])
        raise MedleyError(f"{error} (its files are in {len(folders)} folders: {listed})") from error


def open_frames(frames: list[Frame], where: object, extracted: Extracted | None = None) -> Volume:
    """The slices of one series as a volume, decoded when they are needed.

    Parameters
    ----------
    frames: the slices in any order. `where`: the series, for messages.
    extracted: the zip the files came from, if any.

    Raises
    ------
    MedleyError: the slices are not one even stack of grey images of one scan, or (PET) have no SUV.
    """
    # A scout often shares the series of the scan it planned; a series of scouts alone stays one.
    frames = [frame for frame in frames if not frame.localizer] or frames
    check_consistent(frames, where)
    _check_alike(frames, where)
    if not all(frame.placed for frame in frames):
        frames = in_sequence(frames)
    find = frames[0].constants.get
    modality = str(find("Modality") or "")
    _check_tilt(find("GantryDetectorTilt"), frames, where)
    factor = 1.0
    if modality == "PT":
        with reading(where):
            factor = suv_factor(find, [frame.acquired for frame in frames if frame.acquired], where)
    order, affine = stack(
        np.array([frame.position for frame in frames]),
        np.array(frames[0].orientation),
        frames[0].spacing,
        frames[0].thickness,
        [str(frame) for frame in frames],
        where,
    )
    check_grid(affine, where)
    source = DicomSource(tuple(frames[k] for k in order), affine, factor, extracted)
    data = Slices((len(frames), *frames[0].size), lambda: _decode(source))
    return Volume(data, affine, modality, UNITS.get(modality, ""), source)


def _check_tilt(tilt: Any, frames: list[Frame], where: object) -> None:
    if tilt and len(frames) > 1:
        raise MedleyError(
            f"{where}: was scanned with gantry tilt (GantryDetectorTilt {tilt} degrees); medley does not resample: "
            "correct the tilt first"
        )


def _check_alike(frames: list[Frame], where: object) -> None:
    """One size, orientation and pixel spacing for all slices."""
    first = frames[0]
    for frame in frames[1:]:
        for what, one, other, alike in (
            ("Rows x Columns", first.size, frame.size, first.size == frame.size),
            ("PixelSpacing", first.spacing, frame.spacing, np.allclose(first.spacing, frame.spacing, rtol=_SAME)),
            (
                "ImageOrientationPatient",
                first.orientation,
                frame.orientation,
                np.allclose(first.orientation, frame.orientation, atol=_SAME),
            ),
        ):
            if not alike:
                raise MedleyError(
                    f"{where}: its slices do not fit together: {what} is {one} in {first} and {other} in {frame}; "
                    "separate them into series of one kind"
                )


def _decode(source: DicomSource) -> Iterator[np.ndarray]:
    """The slices in order, (row, column) float32 in the unit of the volume."""
    files = [list(group) for _, group in groupby(source.frames, key=lambda frame: frame.path)]
    stored = stored_frames((frames[0].pixels, [frame.index for frame in frames]) for frames in files)
    for frame in source.frames:
        with guard.reading(frame.path, "DICOM pixels"):
            values = next(stored)
        values = values * (frame.slope * source.factor) + frame.intercept * source.factor
        yield as_float32(values, f"{frame.path}: slice {frame}")
