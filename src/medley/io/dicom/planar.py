"""Images without a place in the patient: radiographs, ultrasound, OCT. One frame, or frames in a sequence.

Frames without a place are one stack in the order of their numbers; the distance between them has no meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medley.io.dicom.frames import Frame

PLANAR = ("CR", "DX", "US", "OPT", "OCT")
UNKNOWN_MM = 1.0  # for pixels and slices whose size is not stated
_CENTIMETRES = 3  # PhysicalUnitsXDirection (PS3.3 C.8.5.5)


def has_place(find: Callable[[str], Any]) -> bool:
    """Whether a frame states its position, orientation and spacing."""
    return all(find(name) for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))


def with_place(find: Callable[[str], Any]) -> Callable[[str], Any]:
    """The look-up of a frame without a place, with one at the origin, in an axial plane."""
    size = _spacing(find)
    made: dict[str, Any] = {"ImagePositionPatient": [0.0, 0.0, 0.0], "ImageOrientationPatient": [1.0, 0, 0, 0, 1.0, 0]}
    made |= {"PixelSpacing": size, "SliceThickness": find("SliceThickness") or UNKNOWN_MM}
    return lambda keyword: made[keyword] if keyword in made else find(keyword)


def in_sequence(frames: Sequence[Frame]) -> list[Frame]:
    """Frames at the places of a stack, in the order of InstanceNumber, file name, and number in the file."""
    ordered = sorted(frames, key=lambda frame: (frame.number or 0, frame.path.name, frame.index))
    depth = ordered[0].thickness or UNKNOWN_MM
    return [replace(frame, position=(0.0, 0.0, k * depth)) for k, frame in enumerate(ordered)]


def _spacing(find: Callable[[str], Any]) -> Any:
    """(row, column) mm: PixelSpacing; that at the detector of a radiograph; that of the only region of ultrasound."""
    if stated := find("PixelSpacing") or find("ImagerPixelSpacing"):
        return stated
    regions = find("SequenceOfUltrasoundRegions") or []
    if len(regions) == 1:
        region = regions[0]
        units = [region.get(f"PhysicalUnits{axis}Direction") for axis in "YX"]
        sides = [abs(float(region.get(f"PhysicalDelta{axis}") or 0)) * 10 for axis in "YX"]
        if units == [_CENTIMETRES] * 2 and all(sides):
            return sides
    return [UNKNOWN_MM, UNKNOWN_MM]
