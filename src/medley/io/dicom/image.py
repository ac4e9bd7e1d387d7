"""One image of a derived DICOM series: what it keeps of its source, what it is called, where it lies, its pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from medley import __version__
from medley.geometry.orientation import RAS_FROM_LPS
from medley.io.dicom.frames import Frame
from medley.io.dicom.read import DicomSource
from medley.io.dicom.tags import EMPTY, KEPT
from medley.volume import Volume

CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}
# The second value of ImageType; PET knows only PRIMARY (PS3.3 C.8.9.4).
_SECOND = {"CT": "SECONDARY", "MR": "SECONDARY", "PT": "PRIMARY"}
_LOW, _HIGH = -32768, 32767


@dataclass(frozen=True)
class Plan:
    """What all images of the new series share.

    Attributes
    ----------
    volume, source: what is written, and the series it was read from.
    same_depth: whether slice k of the volume is slice k of the source, at most refined or cropped in plane.
    series_uid, derivation, mark, now: of the new series.
    """

    volume: Volume
    source: DicomSource
    same_depth: bool
    series_uid: str
    derivation: str
    mark: str
    now: datetime


@dataclass(frozen=True)
class Origin:
    """The slice of the source an image is derived from: its record, its file's header, its look-up of keywords."""

    frame: Frame
    header: Dataset
    find: Callable[[str], Any]


def derived_image(plan: Plan, k: int, values: np.ndarray, origin: Origin) -> Dataset:
    """Slice k of the volume as a DICOM object; `values`: (row, column) in the unit of the volume."""
    image = Dataset()
    _keep(image, plan.volume.modality, origin.find)
    _identify(image, plan, k, origin)
    _place(image, plan, k, origin.frame)
    _fill(image, plan, values, origin)
    image.remove_private_tags()  # those inside the sequences that are kept
    return image


def choose_rescale(values: np.ndarray, slope: float, intercept: float) -> tuple[float, float]:
    """Slope and intercept with which values become 16-bit signed numbers: those given where the values fit.

    Else the intercept moves, in whole steps of the slope, and only where the values span more than 16 bits of such
    steps the slope grows. Both have at most the 16 characters DICOM allows.
    """
    low, high = float(values.min()), float(values.max())
    ends = sorted(((low - intercept) / slope, (high - intercept) / slope))
    if round(ends[0]) >= _LOW and round(ends[1]) <= _HIGH:
        return slope, intercept
    slope = short(max(abs(slope), (high - low) / (_HIGH - _LOW - 1)))
    return slope, short(intercept + slope * (round((low - intercept) / slope) - _LOW))


def short(number: float) -> float:
    """The nearest number that 16 characters can write, as DICOM's decimal strings want it."""
    return float(format_number_as_ds(float(number)))


def _keep(image: Dataset, modality: str, find: Callable[[str], Any]) -> None:
    image.SpecificCharacterSet = "ISO_IR 192"
    for keyword in EMPTY[modality]:
        setattr(image, keyword, None)
    for keyword in KEPT[modality]:
        if find(keyword) is not None:
            setattr(image, keyword, find(keyword))
    if modality == "MR":  # an enhanced image calls these otherwise or leaves them out; RM: research mode
        image.EchoTime = find("EchoTime") or find("EffectiveEchoTime")
        image.ScanningSequence = find("ScanningSequence") or "RM"
        image.SequenceVariant = find("SequenceVariant") or "NONE"
    if modality == "PT" and find("DecayCorrected"):  # an enhanced image: its values are written as SUV
        image.Units, image.SUVType, image.CorrectedImage, image.DecayCorrection = "GML", "BW", ["DECY", "ATTN"], "START"
        image.SeriesType, image.CountsSource = ["STATIC", "IMAGE"], "EMISSION"


def _identify(image: Dataset, plan: Plan, k: int, origin: Origin) -> None:
    find, modality = origin.find, plan.volume.modality
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = CLASSES[modality], generate_uid(prefix=None)
    image.SeriesInstanceUID = plan.series_uid
    image.SeriesNumber = int(find("SeriesNumber") or 0) + 1000
    mark = f" ({plan.mark})"
    image.SeriesDescription = str(find("SeriesDescription") or "")[: 64 - len(mark)] + mark
    image.InstanceNumber = k + 1
    third = list(find("FrameType") or find("ImageType") or ())[2:]
    if modality == "CT":
        third = ["AXIAL", *third[1:]]
    image.ImageType = ["DERIVED", _SECOND[modality], *(third or (["OTHER"] if modality == "MR" else []))]
    image.DerivationDescription = (plan.derivation or f"medley {__version__}")[:1024]
    image.InstanceCreationDate = image.ContentDate = plan.now.strftime("%Y%m%d")
    image.InstanceCreationTime = image.ContentTime = plan.now.strftime("%H%M%S")
    if modality == "PT":
        image.ImageIndex, image.NumberOfSlices = k + 1, plan.volume.shape[0]
    image.ContributingEquipmentSequence = [_equipment(plan)]
    if plan.same_depth:
        image.SourceImageSequence = [_reference(origin)]


def _equipment(plan: Plan) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [_code("109102", "Processing Equipment")]
    item.Manufacturer = item.ManufacturerModelName = "medley"
    item.SoftwareVersions = __version__
    item.ContributionDateTime = plan.now.strftime("%Y%m%d%H%M%S")
    item.ContributionDescription = (plan.derivation or "derived image")[:1024]
    return item


def _reference(origin: Origin) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = origin.header.SOPClassUID
    item.ReferencedSOPInstanceUID = origin.header.SOPInstanceUID
    if "PerFrameFunctionalGroupsSequence" in origin.header:
        item.ReferencedFrameNumber = origin.frame.index + 1
    item.PurposeOfReferenceCodeSequence = [_code("121322", "Source Image for Image Processing Operation")]
    return item


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _place(image: Dataset, plan: Plan, k: int, frame: Frame) -> None:
    """Rows, columns and geometry. Real slices may lie a little unevenly: where they are the source's, they stay so."""
    lps = RAS_FROM_LPS @ plan.volume.affine
    depth, row, column = plan.volume.spacing
    index = np.array([k, 0, 0, 1.0])
    position = (lps @ index)[:3]
    if plan.same_depth:
        position = np.array(frame.position) + ((lps - RAS_FROM_LPS @ plan.source.affine) @ index)[:3]
    else:
        image.SliceThickness = short(depth)
        if "SpacingBetweenSlices" in image:
            image.SpacingBetweenSlices = short(depth)
    image.Rows, image.Columns = plan.volume.shape[1:]
    image.PixelSpacing = [short(row), short(column)]
    image.ImageOrientationPatient = [short(x) for x in (*(lps[:3, 2] / column), *(lps[:3, 1] / row))]
    image.ImagePositionPatient = [short(x) for x in position]


def _fill(image: Dataset, plan: Plan, values: np.ndarray, origin: Origin) -> None:
    """The pixels, and the line from them to the unit the source has."""
    frame, find, modality = origin.frame, origin.find, plan.volume.modality
    exact = values.astype(np.float64)
    if modality == "PT":
        if image.Units == "BQML":
            exact /= plan.source.factor
        # PET allows no intercept (PS3.3 C.8.9.4), so every slice uses the range it needs.
        slope, intercept = short(float(np.abs(exact).max()) / _HIGH) or 1.0, 0.0
    else:
        slope, intercept = choose_rescale(exact, short(frame.slope), short(frame.intercept))
    stored = np.rint((exact - intercept) / slope).clip(_LOW, _HIGH).astype("<i2")
    if modality != "MR" or find("RescaleSlope") is not None or (slope, intercept) != (1, 0):
        image.RescaleSlope, image.RescaleIntercept = slope, intercept
    padding = find("PixelPaddingValue")
    if isinstance(padding, int) and (slope, intercept) == (frame.slope, frame.intercept):
        signed = padding - 65536 if padding > _HIGH and frame.signed else padding
        if _LOW <= signed <= _HIGH:
            image.add_new("PixelPaddingValue", "SS", signed)
    image.SamplesPerPixel, image.PixelRepresentation = 1, 1
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelData = stored.tobytes()
