"""A DICOM series -> Volume, a slice at a time. Everything is checked from headers before a pixel is decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.pixels import iter_pixels
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medley.errors import MedleyError
from medley.geometry.orientation import stack
from medley.io.archive import Extracted
from medley.io.dicom.frames import Frame, finders, frames_of
from medley.io.dicom.series import read_header, reading, transfer_syntax
from medley.io.dicom.suv import suv_factor
from medley.runtime.atomic import one_line
from medley.runtime.guard import without_warnings
from medley.volume import Slices, Volume

UNITS = {"CT": "HU", "MR": "a.u.", "PT": "SUV"}
# Directions (cosines) and pixel spacings (parts) of one series may differ by rounding only.
_SAME = 1e-3


@dataclass(frozen=True)
class DicomSource:
    """What the writer needs of the series a volume was read from.

    Attributes
    ----------
    frames: the slices in the order of the volume.
    affine: as read.
    factor: SUV of one unit of the file; 1 for what is no PET.
    extracted: the unpacked zip, kept as long as this lives.
    """

    frames: tuple[Frame, ...]
    affine: np.ndarray
    factor: float
    extracted: Extracted | None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, each once."""
        return tuple(dict.fromkeys(frame.path for frame in self.frames))


def open_series(files: Iterable[Path], where: object, extracted: Extracted | None = None) -> Volume:
    """The images of one series as a volume whose slices are decoded when they are asked for.

    Parameters
    ----------
    files: the files of the series. `where`: how messages call it.
    extracted: the zip the files came from, if any.

    Raises
    ------
    MedleyError: the slices are no single even stack of grey images of one kind, or (PET) have no SUV.
    """
    frames = [frame for path in files for frame in frames_of(path)]
    # A scout often shares the series of the scan it planned; a series of scouts alone stays one.
    frames = [frame for frame in frames if not frame.localizer] or frames
    _check_alike(frames, where)
    header = read_header(frames[0].path)
    with reading(frames[0].path):
        find = list(finders(header))[frames[0].index]
        modality = str(find("Modality") or "")
        tilt = float(find("GantryDetectorTilt") or 0)
        factor = 1.0
        if modality == "PT":
            factor = suv_factor(find, [frame.acquired for frame in frames if frame.acquired], where)
    if tilt and len(frames) > 1:
        raise MedleyError(
            f"{where}: was scanned with gantry tilt (GantryDetectorTilt {tilt:g} degrees); medley does not resample: "
            "correct the tilt first"
        )
    order, affine = stack(
        np.array([frame.position for frame in frames]),
        np.array(frames[0].orientation),
        frames[0].spacing,
        frames[0].thickness,
        [str(frame) for frame in frames],
        where,
    )
    source = DicomSource(tuple(frames[k] for k in order), affine, factor, extracted)
    data = Slices((len(frames), *frames[0].size), lambda: _decode(source))
    return Volume(data, affine, modality, UNITS.get(modality, ""), source)


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
    for path, group in groupby(source.frames, key=lambda frame: frame.path):
        frames = list(group)
        pixels = None
        for frame in frames:
            try:
                with without_warnings():
                    pixels = pixels or _pixels(path, [frame.index for frame in frames])
                    stored = next(pixels)
            except MedleyError:
                raise
            except Exception as error:  # decoders raise nearly anything
                raise MedleyError(f"{path}: its pixel data cannot be decoded ({one_line(error)})") from error
            values = stored * (frame.slope * source.factor) + frame.intercept * source.factor
            yield values.astype(np.float32)


def _pixels(path: Path, indices: list[int]) -> Iterator[np.ndarray]:
    """The frames of those indices as stored, decoded one at a time."""
    header = read_header(path, tags=["SOPClassUID"])
    syntax = transfer_syntax(header)
    if syntax == DeflatedExplicitVRLittleEndian:  # can only be inflated as a whole
        return iter_pixels(dcmread(path), indices=indices, raw=True)
    return iter_pixels(path, indices=indices, raw=True, transfer_syntax_uid=syntax)
