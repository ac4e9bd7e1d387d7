"""One image of a derived DICOM series: elements kept from its source, identification, geometry and pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from medley.geometry.orientation import RAS_FROM_LPS
from medley.io.dicom.conform import conform
from medley.io.dicom.frames import Frame
from medley.io.dicom.planar import PLANAR
from medley.io.dicom.provenance import (
    COMMENT,
    Algorithm,
    add_derivation,
    add_equipment,
    add_losses,
    marked,
    referenced_series,
    series_number,
    source_image,
)
from medley.io.dicom.read import DicomSource
from medley.io.dicom.tags import EMPTY, KEPT, keep
from medley.volume import Volume

# A derived radiograph, ultrasound or OCT image is a secondary capture of the same modality, one file for each frame.
CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "PT": PositronEmissionTomographyImageStorage,
    **dict.fromkeys(PLANAR, SecondaryCaptureImageStorage),
}
# The second value of ImageType; PET knows only PRIMARY (PS3.3 C.8.9.4).
_SECOND = {modality: "PRIMARY" if modality == "PT" else "SECONDARY" for modality in CLASSES}
_LOW, _HIGH = -32768, 32767


@dataclass(frozen=True)
class DerivedSeries:
    """The common properties of all images of the new series.

    Attributes
    ----------
    volume: the volume to write. source: the series it was read from.
    same_depth: whether slice k of the volume is slice k of the source, at most refined or cropped in plane.
    series_uid, derivation, mark, algorithm, now: of the new series.
    numbers: InstanceNumber of each slice.
    reported: keywords of source elements that were left out with a notice.
    """

    volume: Volume
    source: DicomSource
    same_depth: bool
    series_uid: str
    derivation: str
    mark: str
    algorithm: Algorithm
    now: datetime
    numbers: tuple[int, ...]
    reported: set[str] = field(default_factory=set)

    @property
    def resampled(self) -> bool:
        """Whether the grid is not that of the source."""
        return not np.allclose(self.volume.affine, self.source.affine, atol=1e-3)


@dataclass(frozen=True)
class Origin:
    """The slice of the source that an image is derived from: its frame, its file's header, its look-up of keywords."""

    frame: Frame
    header: Dataset
    find: Callable[[str], Any]


def derived_image(series: DerivedSeries, k: int, values: np.ndarray, origin: Origin) -> Dataset:
    """Slice k of the volume as a DICOM object; `values`: (row, column) in the unit of the volume."""
    image = Dataset()
    _keep(image, series, origin)
    _identify(image, series, k, origin)
    _trace(image, series, origin)
    if series.volume.modality in PLANAR:
        image.ConversionType = "WSD"  # made by a workstation
        _fill_planar(image, values, origin.frame)
    else:
        _place(image, series, k, origin.frame)
        _fill(image, series, values, origin)
    return image


def choose_rescale(values: np.ndarray, slope: float, intercept: float) -> tuple[float, float]:
    """Slope and intercept with which values become 16-bit signed numbers: those given, if the values fit.

    Otherwise the intercept moves, in whole steps of the slope; the slope grows only if the values span more than 16
    bits of such steps. Both have at most the 16 characters that DICOM allows.
    """
    low, high = float(values.min()), float(values.max())
    ends = sorted(((low - intercept) / slope, (high - intercept) / slope))
    if round(ends[0]) >= _LOW and round(ends[1]) <= _HIGH:
        return slope, intercept
    slope = short(max(abs(slope), (high - low) / (_HIGH - _LOW - 1)))
    return slope, short(intercept + slope * (round((low - intercept) / slope) - _LOW))


def short(number: float) -> float:
    """The nearest number that fits into the 16 characters of a DICOM decimal string."""
    return float(format_number_as_ds(float(number)))


def _keep(image: Dataset, series: DerivedSeries, origin: Origin) -> None:
    find, modality = origin.find, series.volume.modality
    image.SpecificCharacterSet = "ISO_IR 192"
    for keyword in EMPTY[modality]:
        setattr(image, keyword, None)
    keep(image, KEPT[modality], find, origin.frame.path, series.reported)
    conform(image, modality, find)
    add_losses(image, image.get, origin.frame.pixels)


def _identify(image: Dataset, series: DerivedSeries, k: int, origin: Origin) -> None:
    find, modality = origin.find, series.volume.modality
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = CLASSES[modality], generate_uid(prefix=None)
    image.SeriesInstanceUID = series.series_uid
    image.SeriesNumber = series_number(find("SeriesNumber"), series.series_uid)
    image.SeriesDescription = marked(str(find("SeriesDescription") or ""), series.mark)
    image.InstanceNumber = series.numbers[k]
    third = list(find("FrameType") or find("ImageType") or ())[2:]
    if modality == "CT":
        third = ["AXIAL", *third[1:]]
    image.ImageType = ["DERIVED", _SECOND[modality], *(third or (["OTHER"] if modality == "MR" else []))]
    image.InstanceCreationDate = image.ContentDate = series.now.strftime("%Y%m%d")
    image.InstanceCreationTime = image.ContentTime = series.now.strftime("%H%M%S")
    if modality == "PT":
        image.ImageIndex, image.NumberOfSlices = (
            sorted(series.numbers).index(series.numbers[k]) + 1,
            len(series.numbers),
        )


def _trace(image: Dataset, series: DerivedSeries, origin: Origin) -> None:
    """Where the image comes from."""
    text = series.algorithm.described(series.derivation)
    add_equipment(image, origin.find, origin.frame.path, text, series.now, series.reported)
    add_derivation(image, text, series.algorithm.task, resampled=series.resampled)
    image.ImageComments = COMMENT
    if series.same_depth:
        multi_frame = origin.frame.pixels.frames > 1 or "PerFrameFunctionalGroupsSequence" in origin.header
        frame = origin.frame.index if multi_frame else None
        in_place = not series.resampled and series.volume.shape[1:] == origin.frame.size
        image.SourceImageSequence = [source_image(origin.header, frame, in_place=in_place)]
        image.ReferencedSeriesSequence = [referenced_series(origin.header)]


def _place(image: Dataset, series: DerivedSeries, k: int, frame: Frame) -> None:
    """Rows, columns and geometry. Slight unevenness of the source's slice positions is kept."""
    lps = RAS_FROM_LPS @ series.volume.affine
    depth, row, column = series.volume.spacing
    index = np.array([k, 0, 0, 1.0])
    position = (lps @ index)[:3]
    if series.same_depth:
        position = np.array(frame.position) + ((lps - RAS_FROM_LPS @ series.source.affine) @ index)[:3]
    else:
        image.SliceThickness = short(depth)
        if "SpacingBetweenSlices" in image:
            image.SpacingBetweenSlices = short(depth)
    image.Rows, image.Columns = series.volume.shape[1:]
    image.PixelSpacing = [short(row), short(column)]
    image.ImageOrientationPatient = [short(x) for x in (*(lps[:3, 2] / column), *(lps[:3, 1] / row))]
    image.ImagePositionPatient = [short(x) for x in position]


def _fill(image: Dataset, series: DerivedSeries, values: np.ndarray, origin: Origin) -> None:
    """The pixels, and their rescale slope and intercept to the unit of the source."""
    frame, find, modality = origin.frame, origin.find, series.volume.modality
    exact = values.astype(np.float64)
    if modality == "PT":
        if image.Units == "BQML":
            exact /= series.source.factor
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


def _fill_planar(image: Dataset, values: np.ndarray, frame: Frame) -> None:
    """The pixels with the bits, the slope and the intercept of the source; rounded and clipped."""
    pixels = frame.pixels
    low = -(2 ** (pixels.stored - 1)) if pixels.signed else 0
    stored = np.rint((values.astype(np.float64) - frame.intercept) / frame.slope).clip(low, low + 2**pixels.stored - 1)
    if (frame.slope, frame.intercept) != (1, 0):
        image.RescaleSlope, image.RescaleIntercept, image.RescaleType = short(frame.slope), short(frame.intercept), "US"
    image.Rows, image.Columns = values.shape
    image.SamplesPerPixel, image.PixelRepresentation = 1, int(pixels.signed)
    image.BitsAllocated, image.BitsStored, image.HighBit = pixels.allocated, pixels.stored, pixels.stored - 1
    data = stored.astype(f"<{'i' if pixels.signed else 'u'}{pixels.allocated // 8}").tobytes()
    image.add_new("PixelData", "OB" if pixels.allocated == 8 else "OW", data + b"\0" * (len(data) % 2))
