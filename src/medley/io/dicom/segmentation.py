"""Masks -> DICOM SEG through highdicom (an extra, imported when needed): a segment for each structure (PS3.3 A.51)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from medley import __version__
from medley.errors import MedleyError
from medley.io.dicom.read import DicomSource
from medley.io.dicom.references import frame_of_reference, images_of, marked, source_of
from medley.runtime.atomic import one_line, replacing
from medley.runtime.extras import install_hint
from medley.runtime.guard import without_warnings
from medley.volume import Volume

# Categories (CID 7150, CID 9502) and types of segments, as DICOM's own tables code them.
ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
TARGET = Code("130041", "DCM", "RT Target")
# CID 9534.
TARGETS = {
    "ptv": Code("228793007", "SCT", "PTV"),
    "ctv": Code("228792002", "SCT", "CTV"),
    "gtv": Code("228791009", "SCT", "GTV"),
}
# CID 7140, 7151, 8134, 9514; by the name without its side, letters only.
ORGANS = {
    "brainstem": Code("119238007", "SCT", "Brain stem"),
    "spinalcord": Code("2748008", "SCT", "Spinal cord"),
    "parotid": Code("45289007", "SCT", "Parotid gland"),
    "submandibular": Code("54019009", "SCT", "Submandibular gland"),
    "esophagus": Code("32849002", "SCT", "Esophagus"),
    "larynx": Code("4596009", "SCT", "Larynx"),
    "mandible": Code("91609006", "SCT", "Mandible"),
    "prostate": Code("41216001", "SCT", "Prostate"),
    "seminalvesicles": Code("64739004", "SCT", "Seminal Vesicle"),
    "bladder": Code("89837001", "SCT", "Bladder"),
    "rectum": Code("34402009", "SCT", "Rectum"),
    "femoralhead": Code("2812003", "SCT", "Femoral head"),
    "heart": Code("80891009", "SCT", "Heart"),
    "lung": Code("39607008", "SCT", "Lung"),
    "liver": Code("10200004", "SCT", "Liver"),
    "kidney": Code("64033007", "SCT", "Kidney"),
}
# CID 244.
SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}
FAMILY = Code("123110", "DCM", "Artificial Intelligence")


def write_segmentation(
    masks: Mapping[str, np.ndarray],
    path: str | Path,
    *,
    reference: Volume,
    model: str = "",
    description: str = "predicted structures",
    mark: str = "medley",
    overwrite: bool = False,
) -> Path:
    """Write masks as a binary DICOM SEG that refers to the images of the scan. Whole or not at all.

    Segment k + 1 is the mask k; each is labelled with its name and coded by `segment_codes`, made by an automatic
    algorithm called after `model`. Masks may overlap; one without a voxel is a segment without a frame.

    Parameters
    ----------
    masks: {name: (slice, row, column) bool on the grid of `reference`}.
    reference: the scan, read from DICOM.
    description: of the series; `mark` follows it in brackets.

    Raises
    ------
    MedleyError: highdicom is not installed; the scan was not read from DICOM, or its headers lack what a SEG needs;
        `path` exists and `overwrite` is False; it cannot be written.
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
    frame_of_reference(reference, path)
    images = list(images_of(reference, path))
    pixels = np.stack(list(masks.values()), axis=-1)[_order(source_of(reference, path), images)]
    descriptions = [_described(highdicom, k, name, model) for k, name in enumerate(masks, start=1)]
    try:
        with without_warnings():
            new = highdicom.seg.Segmentation(
                images,
                pixels,
                highdicom.seg.SegmentationTypeValues.BINARY,
                descriptions,
                series_instance_uid=generate_uid(prefix=None),
                series_number=int(images[0].get("SeriesNumber") or 0) + 1000,
                sop_instance_uid=generate_uid(prefix=None),
                instance_number=1,
                manufacturer="medley",
                manufacturer_model_name="medley",
                software_versions=__version__,
                device_serial_number="none",
                content_description="Predicted by a network. Not for clinical use.",
                omit_empty_frames=bool(pixels.any()),
                series_description=marked(description, mark),
            )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MedleyError(
            f"{path}: the headers of the scan do not suffice for a DICOM SEG ({one_line(error)}); write .nii.gz instead"
        ) from error
    new.SpecificCharacterSet = "ISO_IR 192"  # names may be in any script
    with replacing(path, overwrite=overwrite) as temporary:
        new.save_as(temporary, enforce_file_format=True)
    return path


def segment_codes(name: str) -> tuple[Code, Code, Code | None]:
    """Category, type and side of a structure by its name: "LeftParotid", "Parotid_L", "PTV70", "spinal cord".

    Names that are not in the tables are an anatomical structure without further meaning; the label keeps the name.
    """
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
    sides = {"l": "left", "lt": "left", "r": "right", "rt": "right"}
    side = next((sides.get(word, word) for word in words if sides.get(word, word) in SIDES), None)
    rest = "".join(word for word in words if sides.get(word, word) not in SIDES)
    if rest[:3] in TARGETS:
        return TARGET, TARGETS[rest[:3]], None
    known = next((ORGANS[one] for one in (rest, rest.removesuffix("s"), rest + "s") if one in ORGANS), ANATOMY)
    return ANATOMY, known, SIDES[side] if side else None


def _described(highdicom: ModuleType, number: int, name: str, model: str) -> Dataset:
    category, kind, side = segment_codes(name)
    described = highdicom.seg.SegmentDescription(
        number,
        name[:64],
        category,
        kind,
        highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        highdicom.AlgorithmIdentificationSequence(f"medley {model}".strip(), FAMILY, __version__),
    )
    if side:
        modifier = highdicom.sr.CodedConcept.from_code(side)
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return described


def _order(source: DicomSource, images: Sequence[Dataset]) -> list[int]:
    """The slices in the order in which highdicom takes frames: as the images come, or as they lie in the one image."""
    if len(images) == len(source.frames):
        return list(range(len(images)))
    path = source.frames[0].path
    if len(images) > 1 or int(images[0].NumberOfFrames) != len(source.frames):
        raise MedleyError(
            f"{path}: the scan is {len(source.frames)} slices of {len(images)} multi-frame images, to which a DICOM "
            "SEG cannot refer; expected one whole multi-frame image or one image a slice"
        )
    return sorted(range(len(source.frames)), key=lambda k: source.frames[k].index)


def _highdicom() -> ModuleType:
    try:
        import highdicom.seg
        import highdicom.sr
    except ImportError:
        raise MedleyError(f"DICOM SEG needs highdicom; {install_hint('radiotherapy')}") from None
    return highdicom
