"""The DICOM codes of anatomical structures and radiotherapy targets, found by their names (TG-263 and common others).

TG-263: Mayo et al., "American Association of Physicists in Medicine Task Group 263: Standardizing Nomenclatures in
Radiation Oncology", 2018.
"""

from __future__ import annotations

import re

from pydicom.sr.coding import Code

# Categories (CID 7150, CID 9502) and types of segments, as DICOM's own tables code them.
ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
TARGET = Code("130041", "DCM", "RT Target")
# CID 9534.
TARGETS = {
    "ptv": Code("228793007", "SCT", "PTV"),
    "ctv": Code("228792002", "SCT", "CTV"),
    "gtv": Code("228791009", "SCT", "GTV"),
}
# CID 7140, 7151, 8134, 9514; by the name without its side, letters only, as `structure_codes` compares it.
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
# Other names of the same structures, those of TG-263 first.
_SYNONYMS = {
    "bonemandible": "mandible",
    "mandiblebone": "mandible",
    "glndsubmand": "submandibular",
    "submand": "submandibular",
    "submandibulargland": "submandibular",
    "parotidgland": "parotid",
    "cord": "spinalcord",
    "oesophagus": "esophagus",
    "seminalves": "seminalvesicles",
    "seminalvesicle": "seminalvesicles",
    "femurhead": "femoralhead",
    "headoffemur": "femoralhead",
    "femhead": "femoralhead",
}
# CID 244.
SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}


def structure_codes(name: str) -> tuple[Code, Code, Code | None]:
    """Category, type and side of a structure by its name: "LeftParotid", "Parotid_L", "PTV_7000", "spinal cord".

    Names that are not in the tables are an anatomical structure without a more precise type.
    """
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
    sides = {"l": "left", "lt": "left", "r": "right", "rt": "right"}
    side = next((sides.get(word, word) for word in words if sides.get(word, word) in SIDES), None)
    rest = "".join(word for word in words if sides.get(word, word) not in SIDES)
    if rest[:3] in TARGETS:
        return TARGET, TARGETS[rest[:3]], None
    known = next(
        (ORGANS[key] for one in (rest, rest.removesuffix("s")) if (key := _SYNONYMS.get(one, one)) in ORGANS), ANATOMY
    )
    return ANATOMY, known, SIDES[side] if side else None
