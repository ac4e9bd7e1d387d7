"""Synthetic DICOM series for tests, complete or with a chosen fault. The fixture `phantoms` is this module."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    OphthalmicTomographyImageStorage,
    PositronEmissionTomographyImageStorage,
    UltrasoundImageStorage,
    generate_uid,
)

CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}
ENHANCED = {"CT": EnhancedCTImageStorage, "MR": EnhancedMRImageStorage, "PT": EnhancedPETImageStorage}
PLANAR = {
    "CR": ComputedRadiographyImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
    "US": UltrasoundImageStorage,
    "OPT": OphthalmicTomographyImageStorage,
}
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
# Rotated by 25 degrees about x, then by 10 about the new z, so that no direction cosine is 0 or 1.
OBLIQUE = tuple(
    (
        np.array([[1, 0, 0], [0, np.cos(0.436), -np.sin(0.436)], [0, np.sin(0.436), np.cos(0.436)]])
        @ np.array([[np.cos(0.175), -np.sin(0.175), 0], [np.sin(0.175), np.cos(0.175), 0], [0, 0, 1]])
    ).T[:2].ravel().tolist()
)  # fmt: skip

Change = Callable[[Dataset, int], None]


def values(shape: tuple[int, int, int], low: int, high: int, seed: int = 0) -> np.ndarray:
    """Integers (slice, row, column) without symmetry: a ramp with another slope along each axis, and noise."""
    rng = np.random.default_rng(seed)
    slices, rows, columns = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    ramp = 0.5 * rows + 0.3 * columns + 0.2 * slices
    return np.rint(low + (high - low) * (0.8 * ramp + 0.2 * rng.random(shape))).astype(np.int32)


def write_series(
    folder: Path,
    stored: np.ndarray,
    modality: str,
    *,
    spacing: tuple[float, float, float] = (2.5, 0.8, 0.7),
    orientation: Sequence[float] = AXIAL,
    origin: Sequence[float] = (-31.0, -17.0, 42.0),
    slope: float | Sequence[float] | None = 1.0,
    intercept: float = 0.0,
    signed: bool = True,
    seed: int = 0,
    change: Change | None = None,
) -> list[Path]:
    """Write a classic series of `stored` (slice, row, column) numbers; returns the files in slice order.

    File names and instance numbers are in the reverse order of the slices. `spacing` is (slice, row, column) mm;
    `change(dataset, k)` may change slice k before it is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    files = []
    for k, plane in enumerate(stored):
        ds = _common(modality, seed)
        ds.SOPClassUID = CLASSES[modality]
        ds.SOPInstanceUID = generate_uid(entropy_srcs=["instance", modality, str(seed), str(k)])
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.InstanceNumber = len(stored) - k
        ds.ImagePositionPatient = [round(float(x), 6) for x in np.array(origin) + k * spacing[0] * normal]
        ds.ImageOrientationPatient = [round(float(x), 12) for x in orientation]
        ds.PixelSpacing = list(spacing[1:])
        ds.SliceThickness = spacing[0]
        if slope is not None:
            ds.RescaleSlope = float(np.broadcast_to(slope, len(stored))[k])
            ds.RescaleIntercept = intercept
        _pixels(ds, plane, signed)
        if change:
            change(ds, k)
        files.append(folder / f"{len(stored) - k:03d}.dcm")
        ds.save_as(files[-1], enforce_file_format=True)
    return files


def write_ct_series(folder: Path, shape: tuple[int, int, int] = (5, 12, 16), **options) -> list[Path]:
    """A CT of -1024 to 1500 HU; HU is `values(shape, -1024, 1500, seed)`."""
    hu = values(shape, -1024, 1500, options.get("seed", 0))
    return write_series(folder, hu + 1024, "CT", **{"intercept": -1024.0, **options})


def write_mr_series(folder: Path, shape: tuple[int, int, int] = (5, 12, 16), **options) -> list[Path]:
    """An MR without rescale elements, as usual; unsigned, `values(shape, 0, 900, seed)`."""
    stored = values(shape, 0, 900, options.get("seed", 0))
    return write_series(folder, stored, "MR", **{"slope": None, "signed": False, **options})


def write_pet_series(folder: Path, shape: tuple[int, int, int] = (5, 12, 16), **options) -> list[Path]:
    """A PET in Bq/ml with another slope in each slice; stored `values(shape, 0, 30000, seed)`."""
    stored = values(shape, 0, 30000, options.get("seed", 0))
    slopes = [round(0.4 + 0.3 * k, 3) for k in range(shape[0])]
    change = options.pop("change", None)

    def with_suv_tags(ds: Dataset, k: int) -> None:
        add_suv_tags(ds)
        if change:
            change(ds, k)

    return write_series(folder, stored, "PT", **{"slope": slopes, "change": with_suv_tags, **options})


def write_planar(
    path: Path, stored: np.ndarray, modality: str, *, bits: int = 8, number: int = 1, change: Change | None = None
) -> Path:
    """A radiograph, ultrasound or OCT image without a place in the patient; `stored`: ([frame,] row, column)."""
    ds = _common(modality, 0)
    del ds.FrameOfReferenceUID
    ds.SOPClassUID = PLANAR[modality]
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["planar", modality, str(number)])
    ds.ImageType, ds.InstanceNumber, ds.BurnedInAnnotation = ["ORIGINAL", "PRIMARY"], number, "NO"
    if stored.ndim == 3:
        ds.NumberOfFrames = len(stored)
    _pixels(ds, stored, signed=False)
    allocated = 8 if bits == 8 else 16
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, bits, bits - 1
    ds["PixelData"].VR = "OB" if bits == 8 else "OW"
    ds.PixelData = stored.astype(f"<u{allocated // 8}").tobytes()
    if change:
        change(ds, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def add_suv_tags(ds: Dataset) -> None:
    """Elements for SUV: one hour after 370 MBq of F-18, 70 kg, decay corrected to the start of the series."""
    isotope = Dataset()
    isotope.RadionuclideTotalDose = 370e6
    isotope.RadionuclideHalfLife = 6588.0
    isotope.RadiopharmaceuticalStartTime = "090000.00"
    ds.RadiopharmaceuticalInformationSequence = [isotope]
    ds.Units, ds.DecayCorrection, ds.CorrectedImage = "BQML", "START", ["DECY", "ATTN", "SCAT"]
    ds.SeriesDate = ds.AcquisitionDate = "20240102"
    ds.SeriesTime = ds.AcquisitionTime = "100000.00"
    ds.PatientWeight, ds.SeriesType, ds.CountsSource = 70.0, ["WHOLE BODY", "IMAGE"], "EMISSION"


SUV_FACTOR = 70000 / (370e6 * 2 ** (-3600 / 6588))  # of `add_suv_tags`


def write_enhanced(
    path: Path,
    stored: np.ndarray,
    modality: str,
    *,
    spacing: tuple[float, float, float] = (2.5, 0.8, 0.7),
    orientation: Sequence[float] = AXIAL,
    slopes: Sequence[float] | None = None,
    intercept: float = 0.0,
    order: Sequence[int] | None = None,
    change: Callable[[Dataset], None] | None = None,
) -> Path:
    """Write an enhanced multi-frame image; `order`: which slice is frame 0, 1, ...

    Measures and orientation are shared, positions per frame; the rescale is per frame where `slopes` are given, else
    shared.
    """
    normal = np.cross(orientation[:3], orientation[3:])
    order = range(len(stored)) if order is None else order
    ds = _common(modality, 0)
    ds.SOPClassUID = ENHANCED[modality]
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["enhanced", modality])
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(PixelSpacing=list(spacing[1:]), SliceThickness=spacing[0])]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=[round(float(x), 12) for x in orientation])]
    if modality == "MR":
        shared.MREchoSequence = [_item(EffectiveEchoTime=80.0)]
        shared.MRTimingAndRelatedParametersSequence = [_item(RepetitionTime=4000.0, FlipAngle=90.0)]
    if slopes is None:
        shared.PixelValueTransformationSequence = [_rescale(1.0, intercept, modality)]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = []
    for k in order:
        groups = Dataset()
        position = np.array([-31.0, -17.0, 42.0]) + k * spacing[0] * normal
        groups.PlanePositionSequence = [_item(ImagePositionPatient=[round(float(x), 6) for x in position])]
        if slopes is not None:
            groups.PixelValueTransformationSequence = [_rescale(slopes[k], intercept, modality)]
        ds.PerFrameFunctionalGroupsSequence.append(groups)
    ds.NumberOfFrames = len(order)
    _pixels(ds, stored[list(order)], signed=True)
    if change:
        change(ds)
    ds.save_as(path, enforce_file_format=True)
    return path


def _common(modality: str, seed: int) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Müller^Jörg", "ID-1", "19600102", "M"
    ds.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=["series", modality, str(seed)])
    ds.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame of reference"])
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20240102", "095500", "1", "A1"
    ds.Modality, ds.SeriesNumber, ds.SeriesDescription = modality, 3 + seed, f"{modality} phantom"
    ds.Manufacturer, ds.PhotometricInterpretation = "Phantom Works", "MONOCHROME2"
    return ds


def _pixels(ds: Dataset, stored: np.ndarray, signed: bool) -> None:
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.SamplesPerPixel, ds.PixelRepresentation = 1, int(signed)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()


def _item(**elements: object) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _rescale(slope: float, intercept: float, modality: str) -> Dataset:
    kind = {"CT": "HU"}.get(modality, "US")
    return _item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType=kind)
