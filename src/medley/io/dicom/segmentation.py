"""Masks -> DICOM SEG with highdicom (an extra, imported when needed): a segment for each structure (PS3.3 A.51)."""

from __future__ import annotations

from collections import abc
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import ModuleType

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from medley import __version__
from medley.errors import MedleyError
from medley.io.dicom.provenance import (
    COMMENT,
    MAKER,
    NO_NETWORK,
    Algorithm,
    add_equipment,
    add_losses,
    marked,
    series_number,
)
from medley.io.dicom.read import DicomSource
from medley.io.dicom.references import frame_of_reference, images_of, permissions_of, source_of
from medley.io.dicom.structure_codes import structure_codes
from medley.runtime.atomic import one_line, replacing
from medley.runtime.extras import install_hint
from medley.runtime.guard import without_warnings
from medley.volume import Volume


def write_segmentation(
    masks: Mapping[str, np.ndarray],
    path: str | Path,
    *,
    reference: Volume,
    description: str = "predicted structures",
    mark: str = "medley",
    algorithm: Algorithm = NO_NETWORK,
    overwrite: bool = False,
) -> Path:
    """Write masks as a binary DICOM SEG that refers to the images of the scan. Completely or not at all.

    One segment for each mask that is not empty, in order, labelled with its name and coded by `structure_codes`, made
    by an automatic algorithm. Masks may overlap. The file has at most the permissions of the scan.

    Parameters
    ----------
    masks: {name: (slice, row, column) bool on the grid of `reference`}.
    reference: the scan, read from DICOM.
    description: of the series; `mark` follows it in brackets. algorithm: that drew the structures.

    Raises
    ------
    MedleyError: highdicom is not installed; all masks are empty; the scan was not read from DICOM, or its headers lack
        elements that a SEG needs; `path` exists and `overwrite` is False; it cannot be written.
    """
    path = Path(path)
    highdicom = _highdicom()
    if not masks:
        raise ValueError("a segmentation has at least one mask")
    for name, mask in masks.items():
        if mask.shape != reference.shape or mask.dtype != bool:
            raise ValueError(
                f"{name}: a mask of the scan is bool {reference.shape}, but it is {mask.dtype} {mask.shape}"
            )
    masks = {name: mask for name, mask in masks.items() if mask.any()}
    if not masks:
        raise MedleyError(f"{path}: all structures are empty, so there is nothing to write")
    frame_of_reference(reference, path)
    images = list(images_of(reference, path))
    pixels = np.stack(list(masks.values()), axis=-1)[_order(source_of(reference, path), images)]
    descriptions = [_described(highdicom, k, name, algorithm) for k, name in enumerate(masks, start=1)]
    uid = generate_uid(prefix=None)
    try:
        with without_warnings():
            new = highdicom.seg.Segmentation(
                images,
                pixels,
                highdicom.seg.SegmentationTypeValues.BINARY,
                descriptions,
                series_instance_uid=uid,
                series_number=series_number(images[0].get("SeriesNumber"), uid),
                sop_instance_uid=generate_uid(prefix=None),
                instance_number=1,
                manufacturer=MAKER,
                manufacturer_model_name=MAKER,
                software_versions=__version__,
                device_serial_number="none",
                content_description="Predicted by a network. Not for diagnosis.",
                series_description=marked(description, mark),
            )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MedleyError(
            f"{path}: the headers of the scan lack what a DICOM SEG needs ({one_line(error)}); write .nii.gz instead"
        ) from error
    new.SpecificCharacterSet = "ISO_IR 192"  # names may be in any script
    first = source_of(reference, path).frames[0]
    add_equipment(new, images[0].get, first.path, algorithm.described(), datetime.now(), set())
    add_losses(new, images[0].get, first.pixels)
    new.ImageComments = COMMENT
    with replacing(path, overwrite=overwrite, mode=permissions_of(reference, path)) as temporary:
        new.save_as(temporary, enforce_file_format=True)
    return path


def _described(highdicom: ModuleType, number: int, name: str, algorithm: Algorithm) -> Dataset:
    category, kind, side = structure_codes(name)
    described = highdicom.seg.SegmentDescription(
        number,
        name[:64],
        category,
        kind,
        highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        highdicom.AlgorithmIdentificationSequence.from_sequence(Sequence([algorithm.identified()])),
    )
    if side:
        modifier = highdicom.sr.CodedConcept.from_code(side)
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return described


def _order(source: DicomSource, images: abc.Sequence[Dataset]) -> list[int]:
    """The slices in the order that highdicom expects: that of the images, or that of the frames of the one image."""
    if len(images) == len(source.frames):
        return list(range(len(images)))
    path = source.frames[0].path
    if len(images) > 1 or int(images[0].NumberOfFrames) != len(source.frames):
        raise MedleyError(
            f"{path}: the scan is {len(source.frames)} slices of {len(images)} multi-frame images, to which a DICOM "
            "SEG cannot refer; expected one whole multi-frame image or one image per slice"
        )
    return sorted(range(len(source.frames)), key=lambda k: source.frames[k].index)


def _highdicom() -> ModuleType:
    try:
        import highdicom.seg
        import highdicom.sr
    except ImportError:
        raise MedleyError(f"DICOM SEG needs highdicom; {install_hint('radiotherapy')}") from None
    return highdicom
