"""Elements of a derived image whose presence or value depends on others: what the standard requires is completed or
left out, so that errors of the source are not repeated. Nothing is invented: unknown values are written empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from medley.io.dicom.planar import PLANAR
from medley.io.dicom.provenance import coded

# Body parts that have no side, so that Laterality must be absent (C.7.3.1).
_UNPAIRED = """
    ABDOMEN ABDOMENPELVIS ANUS BLADDER BRAIN CHEST CHESTABDOMEN CHESTABDPELVIS COLON CSPINE ESOPHAGUS GALLBLADDER
    HEAD HEADNECK HEART LIVER LSPINE NECK NECKCHEST PANCREAS PELVIS PROSTATE RECTUM SKULL SPINE SPLEEN SSPINE
    STOMACH TSPINE UTERUS WHOLEBODY
"""
_RECUMBENT = Code("102538003", "SCT", "recumbent")
# PatientPosition in codes: CID 20 by its last letters, CID 21 by its first two.
_MODIFIERS = {
    "S": Code("40199007", "SCT", "supine"),
    "P": Code("1240000", "SCT", "prone"),
    "DR": Code("102535000", "SCT", "right lateral decubitus"),
    "DL": Code("102536004", "SCT", "left lateral decubitus"),
}
_GANTRY = {"HF": Code("102540008", "SCT", "headfirst"), "FF": Code("102541007", "SCT", "feet-first")}


def conform(image: Dataset, modality: str, find: Callable[[str], Any]) -> None:
    """Complete the kept elements of an image of a modality.

    Parameters
    ----------
    find: from a keyword to the value in the source, None if absent.
    """
    if ("WindowCenter" in image) != ("WindowWidth" in image):  # one without the other means nothing
        _remove(image, "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation")
    if modality in PLANAR:
        return
    if not image.get("FrameOfReferenceUID"):  # the same for all that is derived from the series
        image.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame of reference", str(find("SeriesInstanceUID"))])
    if not image.get("Laterality"):
        _remove(image, "Laterality")
        if image.get("BodyPartExamined") not in _UNPAIRED.split():
            image.Laterality = None
    if modality == "PT":
        _conform_pet(image, find)
    elif not image.get("PatientPosition"):
        image.PatientPosition = None
    if modality == "MR":  # enhanced images have other names for these, or lack them; RM: research mode
        image.EchoTime = find("EchoTime") or find("EffectiveEchoTime")
        image.ScanningSequence = find("ScanningSequence") or "RM"
        image.SequenceVariant = find("SequenceVariant") or "NONE"


def _conform_pet(image: Dataset, find: Callable[[str], Any]) -> None:
    if find("DecayCorrected"):  # an enhanced image: its values are written as SUV
        image.Units, image.SUVType, image.CorrectedImage, image.DecayCorrection = "GML", "BW", ["DECY", "ATTN"], "START"
        image.SeriesType, image.CountsSource = ["STATIC", "IMAGE"], "EMISSION"
    kind = (image.get("SeriesType") or [""])[0]
    if kind != "DYNAMIC":
        _remove(image, "NumberOfTimeSlices")
    if kind != "GATED":
        _remove(image, "NumberOfRRIntervals", "NumberOfTimeSlots")
    for isotope in image.get("RadiopharmaceuticalInformationSequence") or ():
        if "RadionuclideCodeSequence" not in isotope:
            isotope.RadionuclideCodeSequence = []
    # PET states the position of the patient in codes, and in nothing else (C.7.3.1, C.8.4.6).
    position = str(image.get("PatientPosition") or "")
    _remove(image, "PatientPosition")
    if not image.PatientOrientationCodeSequence and position[2:] in _MODIFIERS:
        image.PatientOrientationCodeSequence = [coded(_RECUMBENT)]
        modifiers = [coded(_MODIFIERS[position[2:]])]
        image.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence = modifiers
    if not image.PatientGantryRelationshipCodeSequence and position[:2] in _GANTRY:
        image.PatientGantryRelationshipCodeSequence = [coded(_GANTRY[position[:2]])]


def _remove(image: Dataset, *keywords: str) -> None:
    for keyword in keywords:
        if keyword in image:
            del image[keyword]
