"""Requests series from an archive: C-FIND and C-MOVE, or QIDO-RS and WADO-RS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pynetdicom.association import Association

from medley.errors import MedleyError
from medley.node.archives import FIND, MOVE, answering, associated, found, queries, web_client
from medley.node.delivery import Unreachable
from medley.node.incoming import Incoming, TooLarge
from medley.node.receiver import Intake, Receiver
from medley.node.settings import DicomArchive, WebArchive
from medley.runtime.guard import without_warnings
from medley.runtime.locks import locked

_STUDY_KEYS = {"study": "StudyInstanceUID", "patient": "PatientID", "accession": "AccessionNumber", "date": "StudyDate"}


@dataclass(frozen=True)
class Wanted:
    """Which series to request; "" for any.

    Attributes
    ----------
    study: StudyInstanceUID. patient: PatientID. accession: AccessionNumber.
    date: StudyDate, or a range such as 20260101-20260131.
    modality: of the series. series: SeriesInstanceUID.
    """

    study: str = ""
    patient: str = ""
    accession: str = ""
    date: str = ""
    modality: str = ""
    series: str = ""

    def of_study(self) -> dict[str, str]:
        """{keyword: value} of the study.

        Raises
        ------
        MedleyError: nothing is given, so that all studies of the archive would be requested.
        """
        keys = {keyword: value for name, keyword in _STUDY_KEYS.items() if (value := getattr(self, name))}
        if not keys:
            raise MedleyError("which studies are wanted? Give --study, --patient, --accession or --date")
        return keys

    def of_series(self) -> dict[str, str]:
        """{keyword: value} of the series."""
        keys = {"Modality": self.modality, "SeriesInstanceUID": self.series}
        return {keyword: value for keyword, value in keys.items() if value}


@dataclass
class Pulled:
    """What was requested: numbers of series and objects, and of objects that did not come."""

    series: int = 0
    objects: int = 0
    failed: int = 0


def pull(intake: Intake, archive: str, wanted: Wanted) -> Pulled:
    """Request series and put them into the queue. A node need not run; if none does, this receives the objects itself.

    Raises
    ------
    MedleyError: there is no such archive, it does not answer, or nothing is found.
    """
    settings = intake.settings.archives.get(archive)
    if settings is None:
        raise MedleyError(
            f"there is no archive {archive!r}; the configuration has {', '.join(intake.settings.archives)}"
        )
    wanted.of_study()  # raises
    pulled = Pulled()
    try:
        if settings.web is not None:
            _pull_web(intake, archive, settings.web, wanted, pulled)
        else:
            assert settings.dicom is not None
            with ExitStack() as stack:
                try:
                    stack.enter_context(locked(intake.settings.folder, "receiving"))
                except MedleyError:
                    pass  # a node runs, and receives
                else:
                    stack.enter_context(Receiver(intake))
                _pull_dicom(intake, settings.dicom, wanted, pulled)
    except Unreachable as error:
        raise MedleyError(f"the archive {archive}: {error}") from error
    if not pulled.series:
        raise MedleyError(f"the archive {archive} has no such series")
    return pulled


def _pull_dicom(intake: Intake, archive: DicomArchive, wanted: Wanted, pulled: Pulled) -> None:
    title = intake.settings.ae_title
    with associated(archive, title, queries(FIND, MOVE)) as association:
        studies = list(found(association, _identifier("STUDY", wanted.of_study(), "StudyInstanceUID")))
        for study in studies:  # an association answers one request at a time
            keys = {"StudyInstanceUID": study.StudyInstanceUID, **wanted.of_series()}
            asked = _identifier("SERIES", keys, "SeriesInstanceUID", "NumberOfSeriesRelatedInstances")
            for one in list(found(association, asked)):
                count = one.get("NumberOfSeriesRelatedInstances")
                if count:
                    intake.queue.expect(one.SeriesInstanceUID, int(count), intake.clock())
                keys = {"StudyInstanceUID": study.StudyInstanceUID, "SeriesInstanceUID": one.SeriesInstanceUID}
                done, failed = _move(association, _identifier("SERIES", keys), title)
                pulled.series += 1
                pulled.objects += done
                pulled.failed += failed


def _identifier(level: str, keys: dict[str, str], *returned: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword in returned:
        setattr(identifier, keyword, None)
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


def _move(association: Association, identifier: Dataset, title: str) -> tuple[int, int]:
    """The numbers of objects that were sent to us, and of those that could not be sent."""
    status = None
    for status, _ in association.send_c_move(identifier, title, MOVE):
        if not status:
            raise Unreachable("no answer to C-MOVE")
    if status is None or status.Status not in (0x0000, 0xB000):
        code = "no answer" if status is None else f"0x{status.Status:04X}"
        raise Unreachable(f"C-MOVE failed ({code}); does it know the AE title {title} and its address?")
    return (
        int(status.get("NumberOfCompletedSuboperations") or 0),
        int(status.get("NumberOfFailedSuboperations") or 0),
    )


def _pull_web(intake: Intake, name: str, archive: WebArchive, wanted: Wanted, pulled: Pulled) -> None:
    client = web_client(archive)
    with answering():
        for study in _values(client.search_for_studies(search_filters=wanted.of_study()), "0020000D"):
            answers = client.search_for_series(
                study, fields=["NumberOfSeriesRelatedInstances"], search_filters=wanted.of_series()
            )
            for series in _values(answers, "0020000E"):
                instances = list(_values(client.search_for_instances(study, series), "00080018"))
                intake.queue.expect(series, len(instances), intake.clock())
                pulled.series += 1
                for instance in instances:
                    arrived = _put(intake, client.retrieve_instance(study, series, instance), name)
                    pulled.objects += arrived
                    pulled.failed += not arrived


def _values(answers: list[dict[str, Any]], tag: str) -> Iterator[str]:
    for answer in answers:
        yield from answer.get(tag, {}).get("Value", ())


def _put(intake: Intake, dataset: Dataset, sender: str) -> bool:
    """Put an object that was downloaded into the queue; returns whether it was accepted."""
    limits = intake.settings.limits
    incoming = Incoming(intake.folder, lambda: dataset.file_meta, limits.object_size, limits.free_disk)
    syntax = dataset.file_meta.TransferSyntaxUID
    encoded = DicomBytesIO()
    encoded.is_little_endian, encoded.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    with without_warnings():
        write_dataset(encoded, dataset)
    try:
        incoming.write(encoded.getvalue())
    except TooLarge:
        intake.metrics.refused.inc()
        intake.log(f"refused an object: it is larger than {limits.object_size:,} bytes")
        return False
    return intake.put(incoming, sender)[1] is not None
