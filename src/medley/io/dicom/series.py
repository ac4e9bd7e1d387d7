"""Which DICOM series lie in a folder, or in a zip; and the headers of their images."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medley.errors import MedleyError
from medley.runtime import guard

_SUFFIXES = {".dcm", ".dicom", ".ima"}
# Objects that are made of a scan and are none: they may lie beside it and are passed over. What to do with one that is
# given as a scan.
NOT_SCANS = {
    "RTDOSE": "a radiotherapy dose, no scan; give its CT, or prepare both with the layout dicom_rt",
    "RTSTRUCT": "a set of drawn structures, no scan; give its CT, or prepare both with the layout dicom_rt",
    "RTPLAN": "a radiotherapy plan, no scan; give its CT, or prepare both with the layout dicom_rt",
    "SEG": "a segmentation, no scan; give the scan it was made on",
}
_INDEX_TAGS = ["SOPClassUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "Rows"]


@dataclass
class Series:
    """Images of one SeriesInstanceUID that lie together."""

    uid: str
    modality: str
    number: int
    description: str
    files: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.modality} {self.description or 'without description'!r}, {len(self.files)} files, {self.uid}"


def series_among(files: Iterable[Path]) -> tuple[list[Series], list[Path]]:
    """The series among files, sorted by number and UID; and the files that claim to be DICOM but cannot be read.

    What is not DICOM, and DICOM that holds no image of a scan (DICOMDIR, structures, reports, presentation states,
    segmentations, doses), is passed over.
    """
    found: dict[str, Series] = {}
    broken = []
    for path in files:
        if not looks_like_dicom(path):
            continue
        try:
            with reading(path):
                header = read_header(path, tags=_INDEX_TAGS)
                if not _is_scan(header):
                    continue
                uid = str(header["SeriesInstanceUID"].value)
                if uid not in found:
                    number, text = header.get("SeriesNumber"), header.get("SeriesDescription")
                    found[uid] = Series(uid, str(header.get("Modality", "")), int(number or 0), str(text or "").strip())
        except MedleyError:
            broken.append(path)
            continue
        found[uid].files.append(path)
    return sorted(found.values(), key=lambda one: (one.number, one.uid)), broken


def looks_like_dicom(path: Path) -> bool:
    """By name, or by the first bytes: the preamble, or a first element of group 2 or 8 where the preamble was lost."""
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return True  # it may be; reading it says why it cannot be read
    return head[128:] == b"DICM" or head[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")


def read_header(path: Path, tags: list[str] | None = None) -> FileDataset:
    """The header of a DICOM file, all of it or some tags, without its pixels.

    Raises
    ------
    MedleyError: the file is not DICOM, or broken in its header.
    """
    return read_header_and_end(path, tags)[0]


def read_header_and_end(path: Path, tags: list[str] | None = None) -> tuple[FileDataset, int]:
    """As `read_header`, and the byte at which the header ends and the element of the pixels begins."""
    with reading(path), path.open("rb") as file:
        header = dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags)
        end = file.tell()
        known = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    if not known:
        raise MedleyError(f"{path}: is not a DICOM file, or its header is broken (it has no SOPClassUID)")
    return header, end


def transfer_syntax(header: FileDataset) -> UID:
    """How a file is encoded; those without a preamble, which do not say it, are of the time before compression."""
    if syntax := header.file_meta.get("TransferSyntaxUID"):
        return syntax
    implicit, little = header.original_encoding
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def reading(path: object) -> AbstractContextManager[None]:
    """The guard of `medley.runtime.guard` for code that looks up elements of a DICOM file."""
    return guard.reading(path, "DICOM")


def _is_scan(header: FileDataset) -> bool:
    kind = UID(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID"))
    if header.get("Modality") in NOT_SCANS:
        return False
    if "Rows" not in header and "Image Storage" in kind.name:
        raise MedleyError("an image without Rows: the header is cut off")
    return "Rows" in header
