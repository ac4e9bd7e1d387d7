"""What the node reads from the header of an object that it received."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medley.errors import MedleyError
from medley.io.dicom.headers import read_header, reading

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_TAGS = (
    "Modality", "SeriesDescription", "ImageType", "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel",
    "BitsAllocated", "NumberOfSeriesRelatedInstances", "InConcatenationTotalNumber", "ContributingEquipmentSequence",
)  # fmt: skip


@dataclass(frozen=True)
class Received:
    """An object by its header.

    Attributes
    ----------
    study, series, instance, sop_class: its UIDs.
    modality, description, image_type: Modality, SeriesDescription, the values of ImageType.
    images: number of frames; 0 for an object that is no image.
    pixels: bytes of all its pixels after decompression, as the header announces them.
    expected: the number of objects of its series, if the header states it.
    derived: whether medley made it.
    """

    study: str
    series: str
    instance: str
    sop_class: str
    modality: str = ""
    description: str = ""
    image_type: tuple[str, ...] = ()
    images: int = 0
    pixels: int = 0
    expected: int | None = None
    derived: bool = False


def read_received(path: Path) -> Received:
    """The header of an object; its pixels are not read.

    Raises
    ------
    MedleyError: it is not DICOM, its header is damaged, or a UID is missing.
    """
    header = read_header(path, [*_UIDS, *_TAGS])
    with reading(path):
        for keyword in _UIDS:
            if not header.get(keyword):
                raise MedleyError(f"{path}: has no {keyword}")
        frames = int(header.get("NumberOfFrames") or 1) if "Rows" in header else 0
        sides = [int(header.get(keyword) or 0) for keyword in ("Rows", "Columns")]
        depth = int(header.get("SamplesPerPixel") or 1) * int(header.get("BitsAllocated") or 16)
        expected = header.get("NumberOfSeriesRelatedInstances") or header.get("InConcatenationTotalNumber")
        kinds = header.get("ImageType") or ()
        makers = header.get("ContributingEquipmentSequence") or ()
        return Received(
            study=str(header.StudyInstanceUID),
            series=str(header.SeriesInstanceUID),
            instance=str(header.SOPInstanceUID),
            sop_class=str(header.SOPClassUID),
            modality=str(header.get("Modality") or ""),
            description=str(header.get("SeriesDescription") or "").strip(),
            image_type=(kinds,) if isinstance(kinds, str) else tuple(str(kind) for kind in kinds),
            images=max(frames, 0),
            pixels=frames * sides[0] * sides[1] * depth // 8,
            expected=int(expected) if expected else None,
            derived=any("medley" in (one.get("Manufacturer"), one.get("ManufacturerModelName")) for one in makers),
        )
