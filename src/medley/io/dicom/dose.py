"""RTDOSE <-> Volume in Gy: the dose of a plan, and the dose a network predicts (PS3.3 A.18, C.8.8.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import RTDoseStorage

from medley.errors import MedleyError
from medley.geometry.orientation import RAS_FROM_LPS, check_square, stack
from medley.geometry.resampling import resample
from medley.io.dicom.headers import reading
from medley.io.dicom.image import short
from medley.io.dicom.provenance import COMMENT, NO_NETWORK, Algorithm, add_losses, reference_to
from medley.io.dicom.read import DicomSource
from medley.io.dicom.references import (
    check_frame,
    decoded_header,
    header_of,
    images_of,
    new_object,
    permissions_of,
    read_whole,
    source_of,
)
from medley.io.plausible import as_float32, check_grid
from medley.io.writing import slices_to_write
from medley.runtime import worker
from medley.runtime.atomic import one_line, replacing
from medley.runtime.guard import without_warnings
from medley.volume import Volume

# The largest stored number. dciodvfy, the validator that archives use, stops at 32 bits; 16 are exact to 0.6 mGy at
# 80 Gy, far better than any calculated dose.
_HIGHEST = 65535
_LEAST_STEP = 1e-6  # Gy, for doses that are 0 everywhere
# mm by which the first offset of a dose grid may differ from 0, or from the height of its first plane.
_SAME_MM = 1e-3


@dataclass(frozen=True)
class DoseSource:
    """Properties of the dose of an RTDOSE file.

    Attributes
    ----------
    path: the file. frame_of_reference: FrameOfReferenceUID, "" if it has none.
    summation: DoseSummationType, the part of the treatment: "PLAN", "MULTI_PLAN", "FRACTION", "BEAM", ...
    kind: DoseType: "PHYSICAL", or "EFFECTIVE" if it is weighted by biological effect.
    plans: SOPInstanceUIDs of its plans.
    """

    path: Path
    frame_of_reference: str
    summation: str
    kind: str
    plans: tuple[str, ...]


def read_dose(path: str | Path) -> Volume:
    """Read an RTDOSE file: float32 Gy on the grid of the file, modality "RTDOSE", `source` a `DoseSource`.

    Raises
    ------
    MedleyError: not an RTDOSE with a grid of doses in Gy, an uneven grid, or a broken file.
    """
    path = Path(path)
    dose = read_whole(path)
    with reading(path):
        _check_dose(dose, path)
        order, affine = _grid(dose, path)
        source = DoseSource(
            path,
            str(dose.get("FrameOfReferenceUID") or ""),
            str(dose.get("DoseSummationType") or ""),
            str(dose.get("DoseType") or ""),
            tuple(str(plan.ReferencedSOPInstanceUID) for plan in dose.get("ReferencedRTPlanSequence") or ()),
        )
        scaling = float(dose.DoseGridScaling)
    check_grid(affine, path)
    try:
        with without_warnings():
            # A compressed dose is decoded in a child process, because native decoders may crash.
            compressed = dose.file_meta.TransferSyntaxUID.is_encapsulated
            stored = worker.call(_decoded, path, path=path) if compressed else dose.pixel_array
            stored = stored.reshape(-1, dose.Rows, dose.Columns)
    except MedleyError:
        raise
    except Exception as error:  # decoders raise nearly anything
        raise MedleyError(f"{path}: its dose cannot be decoded ({one_line(error)}); copy the file again") from error
    with np.errstate(over="ignore", invalid="ignore"):
        gray = as_float32(stored[order] * scaling, f"{path}: its dose")
    return Volume(gray, affine, "RTDOSE", "Gy", source)


def _decoded(path: Path) -> np.ndarray:
    return read_whole(path).pixel_array


def dose_on_grid(dose: Volume, scan: Volume, *, within: np.ndarray | None = None) -> Volume:
    """The dose at the voxels of a scan, linear between the points of the dose grid and 0 Gy outside of it.

    Parameters
    ----------
    dose: as `read_dose` gives it, or on any grid. scan: gives the new grid; its data is not used.
    within: (slice, row, column) of the scan, where the dose must be known; None: everywhere.

    Raises
    ------
    MedleyError: the two have different frames of reference, or the dose grid does not cover `within`.
    """
    if isinstance(dose.source, DoseSource) and isinstance(scan.source, DicomSource):
        check_frame(dose.source.frame_of_reference, scan, dose.source.path)
    where = dose.source.path if isinstance(dose.source, DoseSource) else "the dose"
    needed = np.ones(scan.shape, bool) if within is None else within
    missing = np.count_nonzero(needed & ~covered(dose, scan))
    if missing:
        raise MedleyError(
            f"{where}: its dose grid does not cover the scan where the dose is needed: {missing} of "
            f"{np.count_nonzero(needed)} voxels lie outside of it; export the dose on a larger grid"
        )
    values = resample(np.asarray(dose.data), dose.affine, scan.affine, scan.shape)
    return Volume(values, scan.affine, "RTDOSE", "Gy", dose.source)


def covered(dose: Volume, scan: Volume) -> np.ndarray:
    """The voxels of a scan that lie in the dose grid, half a step around its outermost points included: bool."""
    everywhere = np.ones(dose.shape, bool)
    return resample(everywhere, dose.affine, scan.affine, scan.shape, 0, outside=False)


def write_dose(
    dose: Volume,
    path: str | Path,
    *,
    reference: Volume,
    structures: str | Path | None = None,
    description: str = "predicted dose",
    mark: str = "medley",
    algorithm: Algorithm = NO_NETWORK,
    overwrite: bool = False,
) -> Path:
    """Write a dose as RTDOSE of the study and frame of reference of the scan it was predicted from.

    A new series of one multi-frame object of 16 bits; every value is exact to half of DoseGridScaling, which is the
    highest dose / 65535. There is no plan that it could refer to, as the DoseSummationType PLAN requires: it is
    PLAN_OVERVIEW, for a dose without a plan object (C.8.8.3), which refers to the scan's images. Written completely or
    not at all, with at most the permissions of the scan.

    Parameters
    ----------
    dose: Gy, on the grid of the scan or any other.
    reference: the scan, read from DICOM.
    structures: an RTSTRUCT file that the dose refers to, such as the one it was predicted from.
    description: of the series; `mark` follows it in brackets. algorithm: that predicted the dose.

    Raises
    ------
    MedleyError: the scan was not read from DICOM; a dose below 0, NaN or infinite; `path` exists and `overwrite` is
        False; it cannot be written.
    """
    path = Path(path)
    if dose.unit != "Gy":
        raise ValueError(f"a dose is in Gy, but this volume is in {dose.unit!r}")
    check_square(dose.affine, path)
    values = np.stack(list(slices_to_write(dose.data))).astype(np.float64)
    if values.min() < 0:
        raise MedleyError(f"{path}: the dose to write goes down to {values.min():.3g} Gy; expected no dose below 0")
    new = new_object(reference, path, RTDoseStorage, "RTDOSE", description, mark, algorithm)
    # Neither a derivation nor source images belong to an RTDOSE (A.18.3): Contributing Equipment has the text.
    new.ImageType, new.BurnedInAnnotation, new.ImageComments = ["DERIVED", "SECONDARY"], "NO", COMMENT
    add_losses(new, header_of(reference, path).get, source_of(reference, path).frames[0].pixels)
    new.DoseUnits, new.DoseType, new.DoseSummationType = "GY", "PHYSICAL", "PLAN_OVERVIEW"
    new.DoseComment = "Predicted by a network, not calculated. Not for clinical use."
    new.PlanOverviewSequence = [_overview(reference, path, structures)]
    _fill(new, values, dose.affine)
    with replacing(path, overwrite=overwrite, mode=permissions_of(reference, path)) as temporary:
        new.save_as(temporary, enforce_file_format=True)
    return path


def _check_dose(dose: FileDataset, path: Path) -> None:
    if dose.get("Modality") != "RTDOSE":
        raise MedleyError(f"{path}: its modality is {dose.get('Modality') or 'unknown'}, expected an RTDOSE file")
    if "PixelData" not in dose or "DoseGridScaling" not in dose:
        raise MedleyError(f"{path}: holds no dose grid (only histograms, points or isodoses); export the dose grid")
    if dose.get("DoseUnits") != "GY":
        raise MedleyError(f"{path}: DoseUnits is {dose.get('DoseUnits')!r}, expected GY; export the absolute dose")
    if dose.get("DoseType") == "ERROR":
        raise MedleyError(f"{path}: DoseType is ERROR, a difference of doses; expected a dose")
    if not float(dose.DoseGridScaling) > 0:
        raise MedleyError(f"{path}: DoseGridScaling is {dose.DoseGridScaling}; expected a positive number")
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        if not dose.get(keyword):
            raise MedleyError(f"{path}: {keyword} is missing, so the position of the dose is unknown")


def _grid(dose: FileDataset, path: Path) -> tuple[list[int], np.ndarray]:
    """The order of the planes along their normal, and the affine: as `stack`."""
    first = np.array(dose.ImagePositionPatient, np.float64)
    orientation = np.array(dose.ImageOrientationPatient, np.float64)
    planes = int(dose.get("NumberOfFrames") or 1)
    value = dose.get("GridFrameOffsetVector")
    offsets = np.zeros(1) if value is None or value == "" else np.atleast_1d(np.array(value, np.float64))
    if len(offsets) != planes:
        raise MedleyError(
            f"{path}: GridFrameOffsetVector has {len(offsets)} values for {planes} planes; export it again"
        )
    if abs(offsets[0]) <= _SAME_MM:  # along the normal, from the first plane
        positions = first + offsets[:, None] * np.cross(orientation[:3], orientation[3:])
    elif (
        abs(offsets[0] - first[2]) <= _SAME_MM and abs(orientation[[2, 5]]).max() <= _SAME_MM
    ):  # heights in the patient
        positions = np.array([[first[0], first[1], height] for height in offsets])
    else:
        raise MedleyError(
            f"{path}: GridFrameOffsetVector begins with {offsets[0]:g}; expected 0, or for axial planes the height of "
            f"the first, {first[2]:g} mm"
        )
    row, column = (float(x) for x in dose.PixelSpacing)
    thickness = float(dose.get("SliceThickness") or 0) or None
    return stack(positions, orientation, (row, column), thickness, [f"plane {k + 1}" for k in range(planes)], path)


def _overview(reference: Volume, path: Path, structures: str | Path | None) -> Dataset:
    item = Dataset()
    item.PlanOverviewIndex, item.RTPlanLabel, item.TreatmentSite = 1, "medley", None
    item.TreatmentSiteCodeSequence = item.PrescriptionOverviewSequence = []
    item.ReferencedImageSequence = [reference_to(image) for image in images_of(reference, path)]
    if structures is not None:
        item.ReferencedStructureSetSequence = [reference_to(decoded_header(Path(structures)))]
    return item


def _fill(new: Dataset, values: np.ndarray, affine: np.ndarray) -> None:
    """Place and pixels of (slice, row, column) Gy."""
    lps = RAS_FROM_LPS @ affine
    if np.linalg.det(lps[:3, [2, 1, 0]]) < 0:  # the slices run against their normal: offsets would be negative
        lps[:3, 3] += (len(values) - 1) * lps[:3, 0]
        lps[:3, 0] *= -1
        values = values[::-1]
    depth, row, column = np.linalg.norm(lps[:3, :3], axis=0)
    new.ImagePositionPatient = _short(lps[:3, 3])
    new.ImageOrientationPatient = _short([*(lps[:3, 2] / column), *(lps[:3, 1] / row)])
    new.PixelSpacing, new.SliceThickness = _short([row, column]), short(depth)
    new.NumberOfFrames, new.Rows, new.Columns = values.shape
    new.FrameIncrementPointer = 0x3004000C  # GridFrameOffsetVector
    new.GridFrameOffsetVector = _short(depth * np.arange(len(values)))
    new.SamplesPerPixel, new.PixelRepresentation, new.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    new.BitsAllocated, new.BitsStored, new.HighBit = 16, 16, 15
    new.DoseGridScaling = short(float(values.max()) / _HIGHEST) or _LEAST_STEP
    stored = np.rint(values / float(new.DoseGridScaling)).clip(0, _HIGHEST).astype("<u2")
    new.PixelData = stored.tobytes() + bytes(stored.nbytes % 2)
    new["PixelData"].VR = "OW"


def _short(numbers: Sequence[float] | np.ndarray) -> list[float]:
    return [short(x) for x in numbers]
