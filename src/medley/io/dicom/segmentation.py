"""Masks -> DICOM SEG with highdicom (an extra, imported when needed): a segment for each structure (PS3.3 A.51)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medley.errors import MedleyError
from medley.io.dicom.highdicom_objects import frame_order, highdicom_for, made, saved
from medley.io.dicom.provenance import NO_NETWORK, Algorithm, marked
from medley.io.dicom.references import frame_of_reference, images_of, source_of
from medley.io.dicom.structure_codes import structure_codes
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
    highdicom = highdicom_for("DICOM SEG")
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
    pixels = np.stack(list(masks.values()), axis=-1)[frame_order(source_of(reference, path), images)]
    descriptions = [_described(highdicom, k, name, algorithm) for k, name in enumerate(masks, start=1)]
    new = made(
        highdicom.seg.Segmentation,
        (images, pixels, highdicom.seg.SegmentationTypeValues.BINARY, descriptions),
        {"content_description": "Predicted by a network. Not for diagnosis."},
        reference=reference,
        path=path,
        kind="DICOM SEG",
        description=marked(description, mark),
        algorithm=algorithm,
    )
    return saved(new, path, reference=reference, overwrite=overwrite)


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
