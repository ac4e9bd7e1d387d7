"""Masks -> RTSTRUCT: contours drawn by a network, for planning systems that do not read DICOM SEG (PS3.3 A.19)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage

from medley.errors import MedleyError
from medley.geometry.orientation import RAS_FROM_LPS
from medley.io.dicom.contours import outlines, without_holes
from medley.io.dicom.provenance import COMMENT, NO_NETWORK, Algorithm, coded, reference_to
from medley.io.dicom.references import (
    decoded_header,
    header_of,
    new_object,
    permissions_of,
    source_of,
)
from medley.io.dicom.structure_codes import TARGET, structure_codes
from medley.runtime.atomic import replacing
from medley.volume import Volume

_DECIMALS = 4  # of coordinates in mm
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, retired, as PS3.3 C.8.8.5 still requires
# Displayed colours, one after the other (Okabe and Ito, readable with colour vision deficiency).
_COLOURS = ([230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167])


def write_structures(
    masks: Mapping[str, np.ndarray],
    path: str | Path,
    *,
    reference: Volume,
    description: str = "predicted structures",
    mark: str = "medley",
    algorithm: Algorithm = NO_NETWORK,
    overwrite: bool = False,
) -> Path:
    """Write masks as the contours of an RTSTRUCT that refers to the images of the scan. Completely or not at all.

    One ROI for each mask that is not empty, in order. `structures.read_structures` returns exactly these masks.
    Contours are CLOSED_PLANAR; holes are joined to the outline around them by a channel of no width (keyhole). The file
    has at most the permissions of the scan.

    Parameters
    ----------
    masks: {name: (slice, row, column) bool on the grid of `reference`}.
    reference: the scan, read from DICOM.
    description: of the series; `mark` follows it in brackets. algorithm: that drew the structures.

    Raises
    ------
    MedleyError: all masks are empty; the scan was not read from DICOM, or lacks a UID; `path` exists and `overwrite` is
        False; it cannot be written.
    """
    path = Path(path)
    for name, mask in masks.items():
        if mask.shape != reference.shape or mask.dtype != bool:
            raise ValueError(
                f"{name}: a mask of the scan is bool {reference.shape}, but it is {mask.dtype} {mask.shape}"
            )
    masks = {name: mask for name, mask in masks.items() if mask.any()}
    if not masks:
        raise MedleyError(f"{path}: all structures are empty, so there is nothing to write")
    new = new_object(reference, path, RTStructureSetStorage, "RTSTRUCT", description, mark, algorithm)
    images = _images(reference, path)
    new.StructureSetLabel = "medley"
    new.StructureSetName = description[:64]
    new.StructureSetDescription = f"Predicted by a network. {COMMENT}"
    new.StructureSetDate, new.StructureSetTime = new.ContentDate, new.ContentTime
    del new.ContentDate, new.ContentTime
    new.ApprovalStatus = "UNAPPROVED"
    new.ReferencedFrameOfReferenceSequence = [_frame(reference, path, new, images)]
    new.StructureSetROISequence, new.ROIContourSequence, new.RTROIObservationsSequence = [], [], []
    for number, (name, mask) in enumerate(masks.items(), start=1):
        new.StructureSetROISequence.append(_roi(number, name, new.FrameOfReferenceUID, algorithm))
        colour = _COLOURS[(number - 1) % len(_COLOURS)]
        contours = _contours(mask, reference.affine, images)
        new.ROIContourSequence.append(
            _item(ROIDisplayColor=colour, ContourSequence=contours, ReferencedROINumber=number)
        )
        new.RTROIObservationsSequence.append(_observation(number, name))
    with replacing(path, overwrite=overwrite, mode=permissions_of(reference, path)) as temporary:
        new.save_as(temporary, enforce_file_format=True)
    return path


def _images(reference: Volume, path: Path) -> list[Dataset]:
    """For each slice of the scan a reference to its image."""
    references: dict[Path, Dataset] = {}
    items = []
    frames = source_of(reference, path).frames
    multi_frame = len({frame.path for frame in frames}) < len(frames)
    for frame in frames:
        if frame.path not in references:
            references[frame.path] = reference_to(decoded_header(frame.path))
        item = Dataset()
        item.update(references[frame.path])
        if multi_frame:
            item.ReferencedFrameNumber = frame.index + 1
        items.append(item)
    return items


def _frame(reference: Volume, path: Path, new: Dataset, images: Sequence[Dataset]) -> Dataset:
    """The frame of reference, with the study, the series and the images that the contours are drawn on."""
    unique = {image.ReferencedSOPInstanceUID: image for image in images}
    plain = [
        _item(ReferencedSOPClassUID=one.ReferencedSOPClassUID, ReferencedSOPInstanceUID=one.ReferencedSOPInstanceUID)
        for one in unique.values()
    ]
    series = _item(
        SeriesInstanceUID=header_of(reference, path).SeriesInstanceUID,
        ContourImageSequence=plain,
    )
    study = _item(
        ReferencedSOPClassUID=_STUDY_CLASS,
        ReferencedSOPInstanceUID=new.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=new.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _roi(number: int, name: str, frame: str, algorithm: Algorithm) -> Dataset:
    return _item(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=frame,
        ROIName=name[:64],
        ROIGenerationAlgorithm="AUTOMATIC",
        ROIGenerationDescription=algorithm.label[:64],
        ROIDerivationAlgorithmIdentificationSequence=[algorithm.identified()],
    )


def _observation(number: int, name: str) -> Dataset:
    category, kind, _ = structure_codes(name)
    return _item(
        ObservationNumber=number,
        ReferencedROINumber=number,
        RTROIIdentificationCodeSequence=[coded(kind)],
        RTROIInterpretedType=kind.meaning if category == TARGET else "ORGAN",
        ROIInterpreter=None,
    )


def _contours(mask: np.ndarray, affine: np.ndarray, images: Sequence[Dataset]) -> list[Dataset]:
    lps = RAS_FROM_LPS @ affine
    slices = np.flatnonzero(mask.any(axis=(1, 2))).tolist()
    drawn = [(k, polygon) for k in slices for polygon in without_holes(outlines(mask[k]))]
    items = []
    for number, (k, polygon) in enumerate(drawn, start=1):
        points = np.column_stack([np.full(len(polygon), k), polygon]) @ lps[:3, :3].T + lps[:3, 3]
        items.append(
            _item(
                ContourNumber=number,
                ContourImageSequence=[images[k]],
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(polygon),
                ContourData=[f"{x:.{_DECIMALS}f}" for x in points.ravel()],
            )
        )
    return items


def _item(**elements: object) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item
