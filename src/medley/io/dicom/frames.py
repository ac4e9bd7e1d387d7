"""One record for each slice of a DICOM image: where it lies and what its values mean, from headers alone.

A classic image is one slice. An enhanced multi-frame image holds many, and says what is common to them in
SharedFunctionalGroupsSequence and what is not in PerFrameFunctionalGroupsSequence (PS3.3 C.7.6.16).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medley.errors import MedleyError
from medley.io.dicom.series import NOT_SCANS, read_header_and_end, reading
from medley.io.dicom.suv import acquisition_time

# Values without these would have no known unit.
_NEED_RESCALE = {"CT", "PT"}


@dataclass(frozen=True)
class Frame:
    """A slice as its header describes it.

    Attributes
    ----------
    path, index: the file, and the frame in it counted from 0.
    size: rows, columns.  signed: whether stored values are.
    position, orientation: ImagePositionPatient (3 mm), ImageOrientationPatient (6), LPS.
    spacing: mm from row to row, from column to column.  thickness: mm or None.
    slope, intercept: stored value -> value of the file (HU, Bq/ml, ...).
    acquired: when its acquisition began, or None.  localizer: whether it is a scout.
    """

    path: Path
    index: int
    size: tuple[int, int]
    signed: bool
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, float]
    thickness: float | None
    slope: float
    intercept: float
    acquired: datetime | None
    localizer: bool

    def __str__(self) -> str:
        return f"{self.path.name}, frame {self.index + 1}" if self.index else self.path.name


def frames_of(path: Path) -> list[Frame]:
    """The slices of one file.

    Raises
    ------
    MedleyError: the file is no greyscale image with a place in the patient, or its pixels are cut short.
    """
    header, end = read_header_and_end(path)
    with reading(path):
        _check_image(header, path)
        _check_length(header, path, end)
        return [_frame(path, index, find) for index, find in enumerate(finders(header))]


def finders(header: Dataset) -> Iterator[Callable[[str], Any]]:
    """For each frame a function from keyword to value (None when absent): its own groups, the shared ones, the top."""
    if "PerFrameFunctionalGroupsSequence" not in header:
        yield header.get
        return
    shared = _flat(header["SharedFunctionalGroupsSequence"][0]) if header.get("SharedFunctionalGroupsSequence") else {}
    for groups in header.PerFrameFunctionalGroupsSequence:
        own = _flat(groups)

        def find(keyword: str, own: dict[str, Any] = own) -> Any:
            for place in (own, shared):
                if keyword in place:
                    return place[keyword]
            return header.get(keyword)

        yield find


def _flat(groups: Dataset) -> dict[str, Any]:
    """The elements of all functional groups of a frame side by side; each group is a sequence of one item."""
    return {
        element.keyword: element.value
        for group in groups
        if group.VR == "SQ" and group.value
        for element in group.value[0]
    }


def _check_image(header: FileDataset, path: Path) -> None:
    if (kind := header.get("Modality")) in NOT_SCANS:
        raise MedleyError(f"{path}: is {NOT_SCANS[kind]}")
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation"):
        if header.get(keyword) in (None, ""):
            raise MedleyError(f"{path}: {keyword} is missing; it is no image that can be read")
    if header.Rows < 1 or header.Columns < 1:
        raise MedleyError(f"{path}: has {header.Rows} rows and {header.Columns} columns; expected a picture")
    kind = header.get("PhotometricInterpretation", "")
    if header.get("SamplesPerPixel", 1) != 1 or not str(kind).startswith("MONOCHROME"):
        raise MedleyError(f"{path}: is a colour picture ({kind}); expected grey values of a scan")
    if "ModalityLUTSequence" in header:
        raise MedleyError(f"{path}: has a ModalityLUTSequence; expected values by RescaleSlope and RescaleIntercept")
    if header.BitsAllocated not in (8, 16, 32) or header.get("HighBit", header.BitsStored - 1) != header.BitsStored - 1:
        raise MedleyError(
            f"{path}: BitsAllocated, BitsStored and HighBit are {header.BitsAllocated}, {header.BitsStored} and "
            f"{header.get('HighBit')}; expected 8, 16 or 32 bits that are used from the lowest"
        )
    if "MOSAIC" in (header.get("ImageType") or ()):
        raise MedleyError(f"{path}: is a Siemens mosaic, many slices in one picture; export it as an enhanced image")
    if int(header.get("NumberOfFrames") or 1) > 1 and "PerFrameFunctionalGroupsSequence" not in header:
        raise MedleyError(
            f"{path}: has {header.NumberOfFrames} frames but no PerFrameFunctionalGroupsSequence that says where they "
            "lie; expected an enhanced multi-frame image or one file for each slice"
        )


def _check_length(header: FileDataset, path: Path, start_at: int) -> None:
    """Is there as much pixel data as the header promises? Looks at lengths, decodes nothing (PS3.5 A.4)."""
    syntax = header.file_meta.get("TransferSyntaxUID", "")
    if syntax == DeflatedExplicitVRLittleEndian:
        return  # its length shows when it is inflated
    cut = MedleyError(f"{path}: its pixel data is cut short or missing (the file ends early); copy the file again")
    implicit, little = header.original_encoding
    order: Literal["little", "big"] = "little" if little else "big"
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(start_at)
        start = file.read(8 if implicit else 12)  # tag, (type,) length
        if len(start) < (8 if implicit else 12):
            raise cut
        length = int.from_bytes(start[-4:], order)
        if length != 0xFFFFFFFF:
            if length < get_expected_length(header) or file.tell() + length > size:
                raise cut
            return
        items = -1  # the first item is the table of offsets
        while (item := file.read(8))[:4] == b"\xfe\xff\x00\xe0":
            items += 1
            file.seek(int.from_bytes(item[4:], "little"), os.SEEK_CUR)
        if item[:4] != b"\xfe\xff\xdd\xe0" or items < int(header.get("NumberOfFrames") or 1):
            raise cut


def _frame(path: Path, index: int, find: Callable[[str], Any]) -> Frame:
    def need(keyword: str, count: int) -> tuple[float, ...]:
        value = find(keyword)
        if value is None or value == "" or (count > 1 and len(value) != count):
            raise MedleyError(f"{path}: {keyword} is missing or incomplete; expected a slice with a place and a unit")
        numbers = tuple(float(x) for x in value) if count > 1 else (float(value),)
        if not np.isfinite(numbers).all():
            raise MedleyError(f"{path}: {keyword} is {value}; expected finite numbers")
        return numbers

    modality = find("Modality")
    slope, intercept = 1.0, 0.0
    if modality in _NEED_RESCALE or find("RescaleSlope") is not None:
        slope, intercept = *need("RescaleSlope", 1), *need("RescaleIntercept", 1)
    if slope == 0:
        raise MedleyError(f"{path}: RescaleSlope is 0, so every value would be the same")
    if modality == "CT" and find("RescaleType") not in (None, "", "HU"):
        raise MedleyError(f"{path}: RescaleType is {find('RescaleType')!r}, expected HU")
    thickness = find("SliceThickness")
    spacing = need("PixelSpacing", 2)
    if min(spacing) <= 0 or float(thickness or 0) < 0:
        raise MedleyError(
            f"{path}: PixelSpacing is {spacing} and SliceThickness {thickness}; expected positive lengths"
        )
    return Frame(
        path=path,
        index=index,
        size=(int(find("Rows")), int(find("Columns"))),
        signed=bool(find("PixelRepresentation")),
        position=need("ImagePositionPatient", 3),
        orientation=need("ImageOrientationPatient", 6),
        spacing=(spacing[0], spacing[1]),
        thickness=float(thickness) if thickness else None,
        slope=slope,
        intercept=intercept,
        acquired=acquisition_time(find) if modality == "PT" else None,
        localizer="LOCALIZER" in (find("FrameType") or find("ImageType") or ()),
    )
