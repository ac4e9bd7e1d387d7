"""What objects that lie beside a scan share with it: patient, study, frame of reference, and the images they refer to.

Contours, doses and segmentations belong to a DICOM series; this module asks that series, as a volume remembers it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from medley import __version__
from medley.errors import MedleyError
from medley.io.dicom.headers import read_header, reading, transfer_syntax
from medley.io.dicom.read import DicomSource
from medley.io.dicom.tags import PATIENT, STUDY
from medley.runtime.atomic import one_line
from medley.runtime.guard import without_warnings
from medley.volume import Volume

# Must be there, if only empty (type 2 of the modules patient, study, series, frame of reference).
_EMPTY = """
    PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber ReferringPhysicianName
    OperatorsName PositionReferenceIndicator
"""


def source_of(scan: Volume, wanted_by: object) -> DicomSource:
    """The DICOM series of a scan.

    Parameters
    ----------
    wanted_by: the file for whose sake it is asked, for the message.

    Raises
    ------
    MedleyError: the scan was not read from DICOM.
    """
    if not isinstance(scan.source, DicomSource):
        raise MedleyError(f"{wanted_by}: needs the DICOM series of its scan, but the scan was not read from DICOM")
    return scan.source


def header_of(scan: Volume, wanted_by: object) -> FileDataset:
    """The header of the first slice, its texts decoded.

    Raises
    ------
    MedleyError: the scan was not read from DICOM, or that slice cannot be read.
    """
    path = source_of(scan, wanted_by).frames[0].path
    header = read_header(path)
    with reading(path):
        header.decode()
    return header


def frame_of_reference(scan: Volume, wanted_by: object) -> str:
    """FrameOfReferenceUID: what says that two objects speak of the same millimetres.

    Raises
    ------
    MedleyError: the scan was not read from DICOM, or does not name one.
    """
    uid = str(header_of(scan, wanted_by).get("FrameOfReferenceUID") or "")
    if not uid:
        path = source_of(scan, wanted_by).frames[0].path
        raise MedleyError(f"{path}: has no FrameOfReferenceUID, so nothing tells whether {wanted_by} belongs to it")
    return uid


def check_frame(found: str, scan: Volume, path: object) -> None:
    """Refuse an object whose millimetres are not those of the scan.

    Raises
    ------
    MedleyError
    """
    expected = frame_of_reference(scan, path)
    if found != expected:
        raise MedleyError(
            f"{path}: belongs to another frame of reference ({found or 'it names none'}) than the scan ({expected}); "
            "give the file that was made on this scan, or register the two first"
        )


def read_whole(path: Path) -> FileDataset:
    """A DICOM file with its pixels.

    Raises
    ------
    MedleyError: it is not there, not DICOM, or broken.
    """
    read_header(path)  # says what is wrong
    try:
        with without_warnings():
            whole = dcmread(path, force=True)
            whole.file_meta.TransferSyntaxUID = transfer_syntax(whole)
    except Exception as error:  # a broken file makes pydicom raise nearly anything
        raise MedleyError(f"{path}: cannot be read as DICOM ({one_line(error)})") from error
    return whole


def new_object(scan: Volume, path: object, sop_class: UID, modality: str, description: str, mark: str) -> Dataset:
    """An object of a new series in the study and the frame of reference of a scan, without what it is about.

    Parameters
    ----------
    path: the file to be written, for messages.
    description: of the series; `mark` follows it in brackets, where people choose from a list.

    Raises
    ------
    MedleyError: the scan was not read from DICOM, or names no frame of reference.
    """
    header, now = header_of(scan, path), datetime.now()
    new = Dataset()
    new.file_meta = FileMetaDataset()
    new.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    new.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _EMPTY.split():
        setattr(new, keyword, None)
    for keyword in (PATIENT + STUDY + "PositionReferenceIndicator").split():
        if keyword in header:
            setattr(new, keyword, header[keyword].value)
    new.FrameOfReferenceUID = frame_of_reference(scan, path)
    new.SOPClassUID, new.SOPInstanceUID = sop_class, generate_uid(prefix=None)
    new.SeriesInstanceUID, new.Modality = generate_uid(prefix=None), modality
    new.SeriesNumber, new.InstanceNumber = int(header.get("SeriesNumber") or 0) + 1000, 1
    new.SeriesDescription = marked(description, mark)
    new.Manufacturer = new.ManufacturerModelName = "medley"
    new.SoftwareVersions = __version__
    new.SeriesDate = new.InstanceCreationDate = new.ContentDate = now.strftime("%Y%m%d")
    new.SeriesTime = new.InstanceCreationTime = new.ContentTime = now.strftime("%H%M%S")
    new.remove_private_tags()  # those inside the sequences that are kept
    return new


def marked(description: str, mark: str) -> str:
    """A series description of at most 64 characters that ends with the mark in brackets."""
    end = f" ({mark})"
    return description[: 64 - len(end)] + end


def images_of(scan: Volume, wanted_by: object) -> Iterator[FileDataset]:
    """The headers of the files of a scan in the order of its slices; a multi-frame file comes once.

    Raises
    ------
    MedleyError: the scan was not read from DICOM, or a file cannot be read.
    """
    for path in dict.fromkeys(frame.path for frame in source_of(scan, wanted_by).frames):
        header = read_header(path)
        with reading(path):
            header.decode()
        yield header


def reference_to(image: Dataset) -> Dataset:
    """An item that refers to an image by its UIDs."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return item
