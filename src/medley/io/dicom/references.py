"""The properties that derived objects share with their scan: patient, study, frame of reference, and references to its
images.

Contours, doses and segmentations belong to a DICOM series, the `source` of a volume.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import reduce
from operator import and_
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from medley.errors import MedleyError
from medley.io.dicom.headers import read_header, reading, transfer_syntax
from medley.io.dicom.provenance import Algorithm, add_equipment, marked, series_number
from medley.io.dicom.read import DicomSource
from medley.io.dicom.tags import PATIENT, STUDY, keep
from medley.runtime.atomic import mode_of, one_line
from medley.runtime.guard import without_warnings
from medley.volume import Volume

# Must be present, empty if unknown (type 2 of the modules patient, study, series, frame of reference).
_EMPTY = """
    PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber ReferringPhysicianName
    OperatorsName PositionReferenceIndicator
"""


def source_of(scan: Volume, wanted_by: object) -> DicomSource:
    """The DICOM series of a scan.

    Parameters
    ----------
    wanted_by: the file that needs it, for the message.

    Raises
    ------
    MedleyError: the scan was not read from DICOM.
    """
    if not isinstance(scan.source, DicomSource):
        raise MedleyError(f"{wanted_by}: needs the DICOM series of its scan, but the scan was not read from DICOM")
    return scan.source


def header_of(scan: Volume, wanted_by: object) -> FileDataset:
    """The header of the first slice; see `decoded_header`.

    Raises
    ------
    MedleyError: the scan was not read from DICOM, that slice cannot be read, or lacks a UID.
    """
    return decoded_header(source_of(scan, wanted_by).frames[0].path)


def decoded_header(path: Path) -> FileDataset:
    """The header of a file that something is derived from, with texts of any character set as plain strings.

    Raises
    ------
    MedleyError: it cannot be read, or lacks a UID without which the result could not refer to it.
    """
    header = read_header(path)
    with reading(path):
        header.decode()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"):
        if not header.get(keyword):
            raise MedleyError(
                f"{path}: has no {keyword}, so no DICOM object that refers to it can be written; write .nii.gz, or "
                "export the scan again"
            )
    return header


def permissions_of(scan: Volume, wanted_by: object) -> int:
    """The permissions that all files of a scan have; a result must not have more, see `medley.runtime.atomic.mode_of`.

    Raises
    ------
    MedleyError: the scan was not read from DICOM.
    """
    return reduce(and_, (mode_of(path) for path in source_of(scan, wanted_by).paths))


def frame_of_reference(scan: Volume, wanted_by: object) -> str:
    """FrameOfReferenceUID: two objects that share it use the same coordinates.

    Raises
    ------
    MedleyError: the scan was not read from DICOM, or has none.
    """
    uid = str(header_of(scan, wanted_by).get("FrameOfReferenceUID") or "")
    if not uid:
        path = source_of(scan, wanted_by).frames[0].path
        raise MedleyError(f"{path}: has no FrameOfReferenceUID, so it is unknown whether {wanted_by} belongs to it")
    return uid


def check_frame(found: str, scan: Volume, path: object) -> None:
    """Refuse an object that has another frame of reference than the scan.

    Raises
    ------
    MedleyError
    """
    expected = frame_of_reference(scan, path)
    if found != expected:
        raise MedleyError(
            f"{path}: belongs to another frame of reference ({found or 'it has none'}) than the scan ({expected}); "
            "give the file that was made on this scan, or register the two first"
        )


def read_whole(path: Path) -> FileDataset:
    """A DICOM file with its pixels.

    Raises
    ------
    MedleyError: it does not exist, is not DICOM, or is damaged.
    """
    read_header(path)  # its errors are more precise
    try:
        with without_warnings():
            whole = dcmread(path, force=True)
            whole.file_meta.TransferSyntaxUID = transfer_syntax(whole)
    except Exception as error:  # a damaged file makes pydicom raise nearly anything
        raise MedleyError(f"{path}: cannot be read as DICOM ({one_line(error)})") from error
    return whole


def new_object(
    scan: Volume, path: object, sop_class: UID, modality: str, description: str, mark: str, algorithm: Algorithm
) -> Dataset:
    """An object of a new series in the study and the frame of reference of a scan, without its own content.

    It states that medley made it.

    Parameters
    ----------
    path: the file to be written, for messages.
    description: of the series; `mark` follows it in brackets, since users choose a series by its description.
    algorithm: that computed the content.

    Raises
    ------
    MedleyError: the scan was not read from DICOM, or lacks a frame of reference or another UID.
    """
    header, now = header_of(scan, path), datetime.now()
    where = source_of(scan, path).frames[0].path
    new = Dataset()
    new.file_meta = FileMetaDataset()
    new.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    new.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _EMPTY.split():
        setattr(new, keyword, None)
    kept = tuple((PATIENT + STUDY + "PositionReferenceIndicator").split())
    keep(new, kept, header.get, where, set())
    new.FrameOfReferenceUID = frame_of_reference(scan, path)
    new.SOPClassUID, new.SOPInstanceUID = sop_class, generate_uid(prefix=None)
    new.SeriesInstanceUID, new.Modality = generate_uid(prefix=None), modality
    new.SeriesNumber = series_number(header.get("SeriesNumber"), new.SeriesInstanceUID)
    new.InstanceNumber = 1
    new.SeriesDescription = marked(description, mark)
    add_equipment(new, header.get, where, algorithm.described(), now, set())
    new.SeriesDate = new.InstanceCreationDate = new.ContentDate = now.strftime("%Y%m%d")
    new.SeriesTime = new.InstanceCreationTime = new.ContentTime = now.strftime("%H%M%S")
    return new


def images_of(scan: Volume, wanted_by: object) -> Iterator[FileDataset]:
    """The headers of the files of a scan in the order of its slices, a multi-frame file once.

    Raises
    ------
    MedleyError: the scan was not read from DICOM, or a file cannot be read.
    """
    for path in dict.fromkeys(frame.path for frame in source_of(scan, wanted_by).frames):
        yield decoded_header(path)
