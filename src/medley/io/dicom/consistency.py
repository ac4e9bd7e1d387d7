"""Elements that must not change within a DICOM series, and the check.

The slices of one SeriesInstanceUID usually share these values. Where they do not, the series holds several scans
(echoes, b-values, magnitude and phase, two patients after a faulty import), and the values or the unit that are read
from one slice are wrong for the others. Such a series is refused. What varies in a sound series (tube current,
exposure, window, times, DecayFactor) is not in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items

from medley.errors import MedleyError
from medley.io.dicom.planar import PLANAR
from medley.runtime.atomic import one_line

if TYPE_CHECKING:
    from medley.io.dicom.frames import Frame

_ALL = """
    PatientID StudyInstanceUID FrameOfReferenceUID Modality SOPClassUID PatientPosition AcquisitionNumber ImageType
    FrameType PhotometricInterpretation GantryDetectorTilt RescaleType
"""
_CT = "KVP ConvolutionKernel FilterType"
_MR = """
    EchoTime EffectiveEchoTime EchoNumbers InversionTime FlipAngle DiffusionBValue ScanningSequence SequenceName
    ComplexImageComponent AcquisitionMatrix InPlanePhaseEncodingDirection PercentSampling PercentPhaseFieldOfView
    ScanOptions PartialFourier PartialFourierDirection MRAcquisitionFrequencyEncodingSteps
    MRAcquisitionPhaseEncodingStepsInPlane GeometryOfKSpaceTraversal
"""
_PT = """
    Units SUVType DecayCorrection DecayCorrected DecayCorrectionDateTime AttenuationCorrected CorrectedImage
    PatientWeight RadiopharmaceuticalInformationSequence MeasurementUnitsCodeSequence SeriesDate SeriesTime
    TimezoneOffsetFromUTC
"""
_PICTURE = "PatientID StudyInstanceUID Modality SOPClassUID PhotometricInterpretation RescaleType"
CONSTANT: dict[str, tuple[str, ...]] = {
    modality: tuple((_ALL + own).split()) for modality, own in (("CT", _CT), ("MR", _MR), ("PT", _PT), ("", ""))
} | dict.fromkeys(PLANAR, tuple(_PICTURE.split()))
_SAME = 1e-3  # numbers may differ by this part: scanners round them


def constants(find: Callable[[str], Any]) -> dict[str, Any]:
    """The values of a slice that must be those of its whole series, as hashable Python values; empty ones left out.

    Parameters
    ----------
    find: keyword -> value in the header of the slice (None when absent).
    """
    keywords = CONSTANT.get(str(find("Modality") or ""), CONSTANT[""])
    found = {keyword: _looked_up(find, keyword) for keyword in keywords}
    return {keyword: value for keyword, value in found.items() if value not in (None, "", ())}


def check_consistent(frames: Sequence[Frame], where: object) -> None:
    """Refuse slices that do not belong to one scan.

    Raises
    ------
    MedleyError: an element of `CONSTANT` changes; it is named with its values and two files.
    """
    first = frames[0]
    for frame in frames[1:]:
        if frame.constants is first.constants:  # equal ones are shared
            continue
        for keyword in dict.fromkeys((*first.constants, *frame.constants)):
            one, other = first.constants.get(keyword), frame.constants.get(keyword)
            if not _alike(one, other):
                raise MedleyError(
                    f"{where}: is not one scan: {_differing(keyword, frames)}; separate the files by {keyword} into "
                    "folders with one scan each"
                )


def _differing(keyword: str, frames: Sequence[Frame]) -> str:
    """The different values of an element, each with its first file and the number of slices."""
    values: list[Any] = []
    names: list[list[str]] = []
    for frame in frames:
        value = frame.constants.get(keyword)
        known = next((k for k, one in enumerate(values) if _alike(one, value)), len(values))
        if known == len(values):
            values.append(value)
            names.append([])
        names[known].append(str(frame))
    parts = [
        f"{_text(value)} in {len(of)} of {len(frames)} slices ({of[0]})"
        for value, of in zip(values, names, strict=True)
    ]
    return f"{keyword} is {', '.join(parts[:4])}{', ...' if len(parts) > 4 else ''}"


def _text(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, tuple):
        text = "\\".join(_text(one) for one in value)
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=_SAME, atol=0, equal_nan=True))
    return one == other


def _looked_up(find: Callable[[str], Any], keyword: str) -> Any:
    """A value, or a text stating that it cannot be read: most of these elements are only compared."""
    try:
        return _plain(find(keyword))
    except Exception as error:
        return f"unreadable ({one_line(error)})"


def _plain(value: Any) -> Any:
    if isinstance(value, Items | list | tuple | MultiValue):
        return tuple(_plain(one) for one in value)
    if isinstance(value, Dataset):
        return tuple((one.keyword, _plain(one.value)) for one in value if not one.tag.is_private)
    if isinstance(value, int | float | Decimal):
        return float(value)
    return value if value is None or isinstance(value, bytes) else str(value).strip()
