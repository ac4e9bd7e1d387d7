"""The slices of a DICOM file as its header describes them: place, meaning of the values, and where the pixels are.

A classic image is one slice. An enhanced multi-frame image holds many. Common elements are in
SharedFunctionalGroupsSequence, others in PerFrameFunctionalGroupsSequence (PS3.3 C.7.6.16).

The header of a file is read once for all of this, so that neither finding nor opening a scan reads it again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset

from medley.errors import MedleyError
from medley.io.dicom.consistency import constants
from medley.io.dicom.headers import header_in, opened, reading, transfer_syntax
from medley.io.dicom.planar import PLANAR, has_place, with_place
from medley.io.dicom.suv import Acquisition, acquisition
from medley.io.plausible import LARGEST, check_spacing

# Objects derived from a scan that may lie beside it, and what to do with one that is given as a scan.
NOT_SCANS = {
    "RTDOSE": "a radiotherapy dose, not a scan; give its CT, or prepare both with the layout dicom_rt",
    "RTSTRUCT": "a set of drawn structures, not a scan; give its CT, or prepare both with the layout dicom_rt",
    "RTPLAN": "a radiotherapy plan, not a scan; give its CT, or prepare both with the layout dicom_rt",
    "SEG": "a segmentation, not a scan; give the scan it was made on",
}
# Values of these have no known unit without the rescale elements.
_NEED_RESCALE = {"CT", "PT"}
_IDENTIFIERS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
# Where PS3.3 C.7.6.16.2 puts the elements of frames that some scanners repeat elsewhere.
_GROUP_OF = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "RescaleType": "PixelValueTransformationSequence",
}


@dataclass(frozen=True, slots=True)
class Pixels:
    """Where the pixels of a file are and how they are encoded.

    Attributes
    ----------
    path: the file.  syntax: its transfer syntax UID.  start: the offset of the pixel data in bytes, of the inflated
        content where the file is deflated.
    encapsulated: whether the frames are compressed fragments.
    rows, columns, frames: numbers of them.  allocated, stored: bits of a value.  signed: whether values are.
    photometric: PhotometricInterpretation.
    """

    path: Path
    syntax: str
    start: int
    encapsulated: bool
    rows: int
    columns: int
    frames: int
    allocated: int
    stored: int
    signed: bool
    photometric: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A slice as its header describes it.

    Attributes
    ----------
    pixels, index: the pixels of its file, and the number of the frame in them, from 0.
    instance: SOPInstanceUID.
    position, orientation: ImagePositionPatient (3 mm), ImageOrientationPatient (6), LPS.
    spacing: mm from row to row, from column to column.  thickness: mm or None.
    slope, intercept: stored value -> value of the file (HU, Bq/ml, ...).
    acquired: when it was acquired (PET), or None.  localizer: whether it is a scout.
    constants: values that must be the same in its whole series, see `medley.io.dicom.consistency`.
    processed: how medley derived it, or "" for an image that medley did not write.
    number: InstanceNumber of the file, or None.
    placed: whether the header states its place; if not, position and orientation are made up.
    """

    pixels: Pixels
    index: int
    instance: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, float]
    thickness: float | None
    slope: float
    intercept: float
    acquired: Acquisition | None
    localizer: bool
    constants: dict[str, Any]
    processed: str
    number: int | None = None
    placed: bool = True

    @property
    def path(self) -> Path:
        """The file."""
        return self.pixels.path

    @property
    def size(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.pixels.rows, self.pixels.columns

    @property
    def signed(self) -> bool:
        """Whether stored values are signed."""
        return self.pixels.signed

    def __str__(self) -> str:
        return f"{self.path.name}, frame {self.index + 1}" if self.index else self.path.name


def frames_of(path: Path) -> list[Frame]:
    """The slices of one file.

    Raises
    ------
    MedleyError: the file is not a greyscale image with a place in the patient, or its pixels are cut short.
    """
    with reading(path), opened(path) as file:
        return frames_in(header_in(file, path), file, path)


def frames_in(header: FileDataset, file: IO[bytes], path: Path) -> list[Frame]:
    """As `frames_of`, of a header from `header_in` and the file at the place where that left it."""
    _check_image(header, path)
    pixels = _pixels(header, file, path)
    return [_frame(pixels, index, find) for index, find in enumerate(finders(header))]


def finders(header: Dataset) -> Iterator[Callable[[str], Any]]:
    """For each frame a function from keyword to value (None when absent): its own groups, the shared ones, the top."""
    if "PerFrameFunctionalGroupsSequence" not in header:
        planar = header.get("Modality") in PLANAR
        yield from [header.get] * (int(header.get("NumberOfFrames") or 1) if planar else 1)
        return
    shared_groups = header.get("SharedFunctionalGroupsSequence")
    shared = _flat(shared_groups[0]) if shared_groups else {}
    for groups in header.PerFrameFunctionalGroupsSequence:
        own = _flat(groups)

        def find(keyword: str, own: dict[str, Any] = own) -> Any:
            for place in (own, shared):
                if keyword in place:
                    return place[keyword]
            return header.get(keyword)

        yield find


def _flat(groups: Dataset) -> dict[str, Any]:
    """The elements of the functional groups of a frame side by side; each group is a sequence of one item.

    Private groups are left out, because they may repeat public elements with other values. So are repetitions in
    public groups other than the one to which the standard assigns the element.
    """
    return {
        element.keyword: element.value
        for group in groups
        if group.VR == "SQ" and group.value and not group.tag.is_private
        for element in group.value[0]
        if not element.tag.is_private and _GROUP_OF.get(element.keyword, group.keyword) == group.keyword
    }


def _check_image(header: FileDataset, path: Path) -> None:
    if (kind := header.get("Modality")) in NOT_SCANS:
        raise MedleyError(f"{path}: is {NOT_SCANS[kind]}")
    if header.get("Modality") == "SM":
        raise MedleyError(f"{path}: is a whole-slide image (SM), which cannot be read; export its tiles as PNG or TIFF")
    for keyword in _IDENTIFIERS:
        if not header.get(keyword):
            raise MedleyError(
                f"{path}: {keyword} is missing, so it is not known which images belong together; export the series "
                "again with its identifiers"
            )
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation"):
        if header.get(keyword) in (None, ""):
            raise MedleyError(f"{path}: {keyword} is missing; it is not an image that can be read")
    if header.Rows < 1 or header.Columns < 1:
        raise MedleyError(f"{path}: has {header.Rows} rows and {header.Columns} columns; expected a picture")
    kind = str(header.get("PhotometricInterpretation") or "")
    samples = header.get("SamplesPerPixel")
    if samples not in (None, "", 1) or not kind.startswith("MONOCHROME"):
        hint = "; export it as PNG or TIFF to restore its luminance" if header.get("Modality") in PLANAR else ""
        raise MedleyError(f"{path}: is a colour picture ({kind}); expected grey values of a scan{hint}")
    if "ModalityLUTSequence" in header:
        raise MedleyError(f"{path}: has a ModalityLUTSequence; expected values by RescaleSlope and RescaleIntercept")
    allocated, stored = header.BitsAllocated, header.BitsStored
    high = header.get("HighBit", stored - 1)
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated or high != stored - 1:
        raise MedleyError(
            f"{path}: BitsAllocated, BitsStored and HighBit are {allocated}, {stored} and {high}; expected 8, 16 or 32 "
            "bits that are used from the lowest"
        )
    if "MOSAIC" in (header.get("ImageType") or ()):
        raise MedleyError(f"{path}: is a Siemens mosaic, many slices in one picture; export it as an enhanced image")
    frames = int(header.get("NumberOfFrames") or 1)
    if "PerFrameFunctionalGroupsSequence" not in header:
        if frames > 1 and header.get("Modality") not in PLANAR:
            raise MedleyError(
                f"{path}: has {frames} frames but no PerFrameFunctionalGroupsSequence that states their positions; "
                "expected an enhanced multi-frame image or one file for each slice"
            )
    elif (groups := len(header.PerFrameFunctionalGroupsSequence or ())) != frames:
        raise MedleyError(
            f"{path}: NumberOfFrames is {frames}, but PerFrameFunctionalGroupsSequence has {groups} items; expected "
            "one item for each frame: export the image again"
        )


def _pixels(header: FileDataset, file: IO[bytes], path: Path) -> Pixels:
    """Where the pixels are. Refuses pixel data whose length differs from the header (PS3.5 A.4); decodes nothing."""
    implicit, little = header.original_encoding
    begin = file.read(8 if implicit else 12)  # tag, (type,) length
    if not begin:
        raise MedleyError(f"{path}: its pixel data is cut short or missing (the file ends early); copy the file again")
    tag = bytes.fromhex("e07f1000" if little else "7fe00010")
    if len(begin) < (8 if implicit else 12) or begin[:4] != tag:
        raise MedleyError(f"{path}: its pixel data is cut short or not integer; expected the element PixelData")
    start, length = file.tell(), int.from_bytes(begin[-4:], "little" if little else "big")
    pixels = Pixels(
        path=path,
        syntax=str(transfer_syntax(header)),
        start=start,
        encapsulated=length == 0xFFFFFFFF,
        rows=int(header.Rows),
        columns=int(header.Columns),
        frames=int(header.get("NumberOfFrames") or 1),
        allocated=int(header.BitsAllocated),
        stored=int(header.BitsStored),
        signed=bool(header.PixelRepresentation),
        photometric=str(header.PhotometricInterpretation),
    )
    if pixels.encapsulated:
        if _fragments(file) < pixels.frames:
            raise MedleyError(f"{path}: its pixel data is cut short (frames are missing); copy the file again")
        return pixels
    expected = pixels.frames * pixels.rows * pixels.columns * pixels.allocated // 8
    if start + length > file.seek(0, os.SEEK_END) or length < expected:
        raise MedleyError(
            f"{path}: its pixel data is cut short; expected {expected} bytes for {pixels.frames} x {pixels.rows} x "
            f"{pixels.columns} values of {pixels.allocated} bits: copy the file again"
        )
    if length > expected + expected % 2:
        raise MedleyError(
            f"{path}: its pixel data has {length} bytes, but {pixels.frames} frames of {pixels.rows} rows and "
            f"{pixels.columns} columns of {pixels.allocated} bits have {expected}; its header is damaged"
        )
    return pixels


def _fragments(file: IO[bytes]) -> int:
    """How many fragments encapsulated pixel data has; 0 where the end mark is missing."""
    count = -1  # the first item is the table of offsets
    while (item := file.read(8))[:4] == b"\xfe\xff\x00\xe0":
        count += 1
        file.seek(int.from_bytes(item[4:], "little"), os.SEEK_CUR)
    return count if item[:4] == b"\xfe\xff\xdd\xe0" else 0


def _frame(pixels: Pixels, index: int, find: Callable[[str], Any]) -> Frame:
    path = pixels.path

    def need(keyword: str, count: int) -> tuple[float, ...]:
        value = find(keyword)
        if value is None or value == "" or (count > 1 and (isinstance(value, float) or len(value) != count)):
            raise MedleyError(f"{path}: {keyword} is missing or incomplete; expected a slice with a place and a unit")
        numbers = tuple(float(x) for x in value) if count > 1 else (float(value),)
        if not np.isfinite(numbers).all():
            raise MedleyError(f"{path}: {keyword} is {value}; expected finite numbers")
        return numbers

    modality = find("Modality")
    placed = modality not in PLANAR or has_place(find)
    if not placed:
        find = with_place(find)
    slope, intercept = _rescale(path, find, need)
    if modality == "CT" and str(find("RescaleType") or "HU").strip().upper() != "HU":
        raise MedleyError(f"{path}: RescaleType is {find('RescaleType')!r}, expected HU")
    spacing = need("PixelSpacing", 2)
    check_spacing(spacing, "PixelSpacing", path)
    thickness = float(find("SliceThickness") or 0)
    if thickness:
        check_spacing(thickness, "SliceThickness", path)
    return Frame(
        pixels=pixels,
        index=index,
        instance=str(find("SOPInstanceUID")),
        position=need("ImagePositionPatient", 3),
        orientation=need("ImageOrientationPatient", 6),
        spacing=(spacing[0], spacing[1]),
        thickness=thickness or None,
        slope=slope,
        intercept=intercept,
        acquired=acquisition(find, path) if modality == "PT" else None,
        localizer="LOCALIZER" in (find("FrameType") or find("ImageType") or ()),
        constants=constants(find),
        processed=_processed(find),
        number=int(number) if isinstance(number := find("InstanceNumber"), int) else None,
        placed=placed,
    )


def _rescale(
    path: Path, find: Callable[[str], Any], need: Callable[[str, int], tuple[float, ...]]
) -> tuple[float, float]:
    """Slope and intercept. In MR either may be missing and then changes nothing."""
    must = find("Modality") in _NEED_RESCALE
    numbers = []
    for keyword, neutral in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        absent = find(keyword) in (None, "")
        numbers.append(neutral if absent and not must else need(keyword, 1)[0])
    slope, intercept = numbers
    if slope == 0:
        raise MedleyError(f"{path}: RescaleSlope is 0, so every value would be the same")
    if not 1 / LARGEST <= abs(slope) <= LARGEST or abs(intercept) > LARGEST:
        raise MedleyError(
            f"{path}: RescaleSlope is {slope:g} and RescaleIntercept {intercept:g}; expected numbers of a physical unit"
        )
    return slope, intercept


def _processed(find: Callable[[str], Any]) -> str:
    """DerivationDescription where medley is among the contributing equipment."""
    for item in find("ContributingEquipmentSequence") or ():
        if "medley" in (item.get("Manufacturer"), item.get("ManufacturerModelName")):
            return str(find("DerivationDescription") or item.get("ContributionDescription") or "medley")
    return ""
