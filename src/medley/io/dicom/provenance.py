"""Where a DICOM object that medley writes comes from: equipment, algorithm, derivation, sources, warnings.

All writers of DICOM objects take these elements from here. Codes are those of PS3.16: CID 7005 (contributing
equipment), CID 7202 (source images), CID 7203 (image derivation), CID 7162 (families of algorithms).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from medley import __version__
from medley.io.dicom.frames import Pixels
from medley.io.dicom.tags import EQUIPMENT, keep

MAKER = "medley"
COMMENT = "Made by research software (medley). Not for diagnosis."
FAMILY = Code("123110", "DCM", "Artificial Intelligence")

_ACQUISITION = Code("109101", "DCM", "Acquisition Equipment")
_PROCESSING = Code("109102", "DCM", "Processing Equipment")
_SOURCE = Code("121322", "DCM", "Source image for image processing operation")
_RESAMPLING = Code("113085", "DCM", "Spatial resampling")
# By the last word of a task's name. CID 7203 has no code for noise reduction by a network; Smoothing is the nearest.
_OPERATIONS = {
    "denoise": Code("113087", "DCM", "Smoothing"),
    "sr": Code("113086", "DCM", "Edge enhancement"),
}
# What other equipment wrote about itself is kept without its free text, which may hold names.
_KEPT = ("PurposeOfReferenceCodeSequence", *EQUIPMENT.split(), "ContributionDateTime")
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
# Transfer syntaxes that always lose information, and the method of each (C.7.6.1.1.5).
_LOSSY_SYNTAXES = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
}
_DIGITS = 5  # of a SeriesNumber, after the number of the scan
_LARGEST = 2**31 - 1  # of an integer string


@dataclass(frozen=True)
class Algorithm:
    """The network that made an object, and how it was used.

    Attributes
    ----------
    name: of the network; "" if there is none, as where a scan was degraded.
    sha256: of its weights file; "" if unknown.
    task: restoration task, such as "ct-denoise", or the target that was predicted.
    parameters: name -> value, in the order in which they are written.
    """

    name: str = ""
    sha256: str = ""
    task: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """ "medley NAME"."""
        return f"{MAKER} {self.name}".strip()

    @property
    def settings(self) -> list[str]:
        """The checksum of the weights and the parameters, as "NAME VALUE"."""
        weights = {"weights SHA-256": self.sha256} if self.sha256 else {}
        return [f"{name} {value}" for name, value in (weights | dict(self.parameters)).items()]

    def described(self, summary: str = "") -> str:
        """A text of at most 1024 characters: `summary`, or medley with its version, network and task; the settings."""
        words = summary or " ".join(filter(None, (MAKER, __version__, self.name, self.task)))
        return "; ".join([words, *self.settings])[:1024]

    def identified(self) -> Dataset:
        """The item of an algorithm identification sequence (PS3.3 10.16)."""
        item = Dataset()
        item.AlgorithmFamilyCodeSequence = [coded(FAMILY)]
        item.AlgorithmName, item.AlgorithmVersion, item.AlgorithmSource = self.label[:64], __version__, MAKER
        if self.settings:
            item.AlgorithmParameters = "; ".join(self.settings)
        return item


NO_NETWORK = Algorithm()


def add_equipment(
    new: Dataset, find: Callable[[str], Any], path: object, text: str, now: datetime, reported: set[str]
) -> None:
    """State that medley made an object, and which equipment made its source.

    As PS3.3 C.12.1.1.5 has it, General Equipment is that of the object, medley; Contributing Equipment lists what the
    source lists, the equipment of the source itself, and medley with `text`, in this order.

    Parameters
    ----------
    find, path, reported: as of `medley.io.dicom.tags.keep`.
    """
    listed = [_kept_equipment(one.get, path, reported) for one in find("ContributingEquipmentSequence") or ()]
    items = [item for item in listed if item and _purpose(item)]
    own = _kept_equipment(find, path, reported)
    if own is not None and _identity(own) not in map(_identity, items):
        acquired = _ACQUISITION.value not in map(_purpose, items)
        own.PurposeOfReferenceCodeSequence = [coded(_ACQUISITION if acquired else _PROCESSING)]
        items.insert(0 if acquired else len(items), own)
    medley = Dataset()
    medley.PurposeOfReferenceCodeSequence = [coded(_PROCESSING)]
    for item in (medley, new):
        item.Manufacturer = item.ManufacturerModelName = MAKER
        item.SoftwareVersions = __version__
    medley.ContributionDateTime = now.astimezone().strftime("%Y%m%d%H%M%S%z")
    medley.ContributionDescription = text[:1024]
    new.ContributingEquipmentSequence = [*items, medley]


def add_derivation(new: Dataset, text: str, task: str, *, resampled: bool) -> None:
    """How an image was derived (General Reference module, C.12.4), in words and, where CID 7203 has them, codes.

    Parameters
    ----------
    task: of the network. resampled: whether the grid differs from that of the source.
    """
    new.DerivationDescription = text[:1024]
    operation = _OPERATIONS.get(task.rpartition("-")[2])
    codes = [code for code in (operation, _RESAMPLING if resampled else None) if code]
    if codes:
        new.DerivationCodeSequence = [coded(code) for code in codes]


def source_image(image: Dataset, frame: int | None, *, in_place: bool) -> Dataset:
    """An item of SourceImageSequence.

    Parameters
    ----------
    frame: from 0, of a multi-frame image, else None. in_place: whether every pixel is where it was in the source.
    """
    item = reference_to(image)
    if frame is not None:
        item.ReferencedFrameNumber = frame + 1
    item.SpatialLocationsPreserved = "YES" if in_place else "NO"
    item.PurposeOfReferenceCodeSequence = [coded(_SOURCE)]
    return item


def referenced_series(image: Dataset) -> Dataset:
    """The item of ReferencedSeriesSequence for an image that is referred to (Common Instance Reference, C.12.2)."""
    item = Dataset()
    item.SeriesInstanceUID, item.ReferencedInstanceSequence = image.SeriesInstanceUID, [reference_to(image)]
    return item


def reference_to(image: Dataset) -> Dataset:
    """An item that refers to an image by its UIDs."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return item


def add_losses(new: Dataset, find: Callable[[str], Any], pixels: Pixels) -> None:
    """What was lost by compression stays lost (C.7.6.1.1.5).

    Parameters
    ----------
    find: as of `add_equipment`. pixels: of the source; their transfer syntax counts where the header does not say it.
    """
    keep(new, _LOSSY, find, pixels.path, set())
    if new.get("LossyImageCompression") != "01" and pixels.syntax in _LOSSY_SYNTAXES:
        new.LossyImageCompression, new.LossyImageCompressionMethod = "01", _LOSSY_SYNTAXES[pixels.syntax]


def series_number(scan: Any, uid: str) -> int:
    """SeriesNumber of a new series: the number of the scan followed by five digits of the UID of the new series.

    So the series follows its scan where numbers are sorted as text, keeps the order of the scans where they are sorted
    as numbers, and differs, as far as chance allows, from all results of the same scan. Eight digits of the UID where
    the scan has no number or one that is too large.

    Parameters
    ----------
    scan: SeriesNumber of the scan, or None.
    """
    digits = int(uid.rpartition(".")[2])
    number = scan if isinstance(scan, int) else 0
    if 0 < number < _LARGEST // 10**_DIGITS:
        return int(number) * 10**_DIGITS + digits % 10**_DIGITS
    return 10_000_000 + digits % 90_000_000


def marked(description: str, mark: str) -> str:
    """A series description of at most 64 characters that ends with the mark in brackets."""
    end = f"({mark[:62]})"
    return f"{description[: 63 - len(end)]} {end}".lstrip()


def coded(code: Code) -> Dataset:
    """The item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _kept_equipment(find: Callable[[str], Any], path: object, reported: set[str]) -> Dataset | None:
    """An item about equipment; None where it does not say whose it is."""
    item = Dataset()
    keep(item, _KEPT, find, path, reported)
    if item.get("Manufacturer") == MAKER and find("ContributionDescription"):
        item.ContributionDescription = find("ContributionDescription")
    return item if item.get("Manufacturer") else None


def _identity(item: Dataset) -> tuple[str, str]:
    return str(item.Manufacturer), str(item.get("ManufacturerModelName") or "")


def _purpose(item: Dataset) -> str:
    codes = item.get("PurposeOfReferenceCodeSequence")
    return str(codes[0].get("CodeValue", "")) if codes else ""
