"""Which DICOM series are among files, and their slices. The header of each file is read once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from os.path import commonpath
from pathlib import Path
from typing import Any

from pydicom.dataset import FileDataset
from pydicom.uid import UID

from medley.errors import MedleyError
from medley.io.dicom.frames import NOT_SCANS, Frame, frames_in
from medley.io.dicom.headers import header_in, looks_like_dicom, opened, reading


@dataclass
class Series:
    """The images of one SeriesInstanceUID.

    Attributes
    ----------
    uid, modality, number, description: of the series; the UID is "" for images that have none.
    patient: PatientID of its first file; may be empty.
    files: its files.  frames: its slices, in the order of the files.
    faults: why files of it cannot be used; opening the series reports the first.
    """

    uid: str
    modality: str
    number: int
    description: str
    patient: str = ""
    files: list[Path] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The deepest folder that holds all its files."""
        return Path(commonpath(file.parent for file in self.files))

    @property
    def label(self) -> str:
        """A short name from its number and description."""
        words = re.sub(r"[^A-Za-z0-9.]+", "-", self.description).strip("-.")
        return "-".join(part for part in (f"{self.number:03d}", words or self.modality) if part)

    def __str__(self) -> str:
        return f"{self.modality} {self.description or 'without description'!r}, {len(self.files)} files, {self.uid}"


def series_among(files: Iterable[Path]) -> tuple[list[Series], list[Path]]:
    """The series among files, sorted by number and UID; and the files that claim to be DICOM but cannot be read.

    Other files, and DICOM files without an image of a scan (DICOMDIR, structures, reports, presentation states,
    segmentations, doses), are left out. A series may be spread over several folders. Where each folder holds the same
    images, they are copies, and each is a series of its own.
    """
    found: dict[str, Series] = {}
    broken = []
    shared: dict[Any, dict[str, Any]] = {}
    for path in files:
        if not looks_like_dicom(path):
            continue
        try:
            _add(path, found, shared)
        except MedleyError:
            broken.append(path)
    series = [part for one in found.values() for part in _without_copies(one)]
    return sorted(series, key=lambda one: (one.number, one.uid, one.folder)), broken


def frames_of_all(files: Iterable[Path]) -> list[Frame]:
    """The slices of files that are known to be one series.

    Raises
    ------
    MedleyError: a file cannot be used.
    """
    frames: list[Frame] = []
    shared: dict[Any, dict[str, Any]] = {}
    for path in files:
        with reading(path), opened(path) as file:
            frames += _sharing(frames_in(header_in(file, path), file, path), shared)
    return frames


def _add(path: Path, found: dict[str, Series], shared: dict[Any, dict[str, Any]]) -> None:
    with reading(path), opened(path) as file:
        header = header_in(file, path)
        if not _is_scan(header):
            return
        uid = str(header.get("SeriesInstanceUID") or "")
        if uid not in found:
            number, text = header.get("SeriesNumber"), header.get("SeriesDescription")
            patient = str(header.get("PatientID") or "").strip()
            modality = str(header.get("Modality", ""))
            found[uid] = Series(uid, modality, int(number or 0), str(text or "").strip(), patient)
        one = found[uid]
        one.files.append(path)
        try:
            with reading(path):
                one.frames += _sharing(frames_in(header, file, path), shared)
        except MedleyError as error:
            one.faults.append(str(error))


def _sharing(frames: list[Frame], shared: dict[Any, dict[str, Any]]) -> list[Frame]:
    """The frames, with equal constants stored once for all slices."""
    return [replace(one, constants=shared.setdefault(tuple(one.constants.items()), one.constants)) for one in frames]


def _without_copies(series: Series) -> list[Series]:
    """One series for each folder where all folders hold the same images; else the series as it is."""
    folders = dict.fromkeys(file.parent for file in series.files)
    if len(folders) == 1 or series.faults:
        return [series]
    parts = [
        replace(
            series,
            files=[file for file in series.files if file.parent == folder],
            frames=[frame for frame in series.frames if frame.path.parent == folder],
            faults=[],
        )
        for folder in folders
    ]
    images = [sorted((frame.instance, frame.index) for frame in part.frames) for part in parts]
    return parts if all(one == images[0] for one in images) else [series]


def _is_scan(header: FileDataset) -> bool:
    kind = UID(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID"))
    if header.get("Modality") in NOT_SCANS:
        return False
    if "Rows" not in header and "Image Storage" in kind.name:
        raise MedleyError("an image without Rows: the header is cut off")
    return "Rows" in header
