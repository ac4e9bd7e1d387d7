"""Connections to archives: DICOM (C-STORE, C-FIND) and DICOMweb (STOW-RS, QIDO-RS)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import requests
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session_from_user_pass
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from medley.errors import MedleyError
from medley.io.dicom.headers import read_header, transfer_syntax
from medley.node.delivery import Connect, Refused, Unreachable
from medley.node.header import Received
from medley.node.network import client_context, silence_libraries
from medley.node.settings import Archive, DicomArchive, PacsSettings, WebArchive
from medley.runtime.atomic import one_line
from medley.runtime.guard import without_warnings

TIMEOUT = 60.0  # seconds without an answer
FIND = StudyRootQueryRetrieveInformationModelFind
MOVE = StudyRootQueryRetrieveInformationModelMove
_LARGEST_REPLY = 2**31  # bytes of an answer of a DICOMweb server
_BUSY = (408, 425, 429, 500, 502, 503, 504, 507)  # HTTP: try again later


def connections(settings: PacsSettings) -> dict[str, Connect]:
    """How each archive of the configuration is connected.

    Raises
    ------
    MedleyError: TLS or password files cannot be used.
    """
    silence_libraries()
    return {name: connection(one, settings.ae_title) for name, one in settings.archives.items()}


def connection(archive: Archive, ae_title: str) -> Connect:
    """How an archive is connected. `ae_title`: of this node."""
    if archive.web is not None:
        return partial(_web_connection, web_client(archive.web))
    assert archive.dicom is not None
    return partial(_dicom_connection, archive.dicom, ae_title)


@contextmanager
def associated(archive: DicomArchive, ae_title: str, contexts: Mapping[str, Sequence[str]]) -> Iterator[Association]:
    """An association with an archive.

    Parameters
    ----------
    contexts: {abstract syntax: transfer syntaxes}.

    Raises
    ------
    Unreachable: there is no connection, or the archive rejects the association.
    """
    ae = AE(ae_title)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = TIMEOUT
    requested = [build_context(abstract, list(syntaxes)) for abstract, syntaxes in contexts.items()]
    tls = (client_context(archive.tls), archive.address) if archive.tls else None
    association = ae.associate(
        archive.address, archive.port, contexts=requested, ae_title=archive.ae_title, tls_args=tls
    )
    if not association.is_established:
        raise Unreachable("it rejects the association" if association.is_rejected else "no connection")
    connected = association.dul.socket.socket if association.dul.socket else None
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if connected is not None:
            connected.close()  # pynetdicom leaves it open where the archive was the first to close it


def queries(*models: str) -> dict[str, list[str]]:
    """The contexts of query models, for `associated`."""
    return {model: ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"] for model in models}


def found(association: Association, wanted: Dataset) -> Iterator[Dataset]:
    """The answers to a C-FIND.

    Raises
    ------
    Unreachable: the archive does not answer, or with a failure.
    """
    for status, answer in association.send_c_find(wanted, FIND):
        if not status or status.Status not in (0x0000, 0xFF00, 0xFF01):
            raise Unreachable(f"a query failed ({_code(status)})")
        if answer is not None and status.Status != 0x0000:
            yield answer


class _DicomConnection:
    """An association for C-STORE; see `medley.node.delivery.Connection`."""

    def __init__(self, association: Association, archive: DicomArchive, ae_title: str) -> None:
        self._association, self._archive, self._ae_title = association, archive, ae_title

    def send(self, path: Path) -> None:
        if not self._association.is_established:
            raise Unreachable("the association has ended")
        with without_warnings():
            dataset = dcmread(path)
        try:
            status = self._association.send_c_store(dataset)
        except ValueError as error:  # pynetdicom: no context was accepted, or the object cannot be encoded
            raise Refused("it does not accept this kind of object") from error
        except RuntimeError as error:
            raise Unreachable("the association has ended") from error
        if not status:
            raise Unreachable("no answer")
        code = int(status.Status)
        if code == 0x0000 or code & 0xF000 == 0xB000:  # success, and warnings: the object is stored
            return
        if code & 0xFF00 == 0xA700:
            raise Unreachable(f"it has no space at present ({_code(status)})")
        raise Refused(f"status {_code(status)}")

    def has(self, one: Received) -> bool:
        wanted = Dataset()
        wanted.QueryRetrieveLevel = "IMAGE"
        wanted.StudyInstanceUID, wanted.SeriesInstanceUID = one.study, one.series
        wanted.SOPInstanceUID = one.instance
        with associated(self._archive, self._ae_title, queries(FIND)) as association:
            if not association.accepted_contexts:
                raise Unreachable("it answers no queries; set look_up: false for it")
            return any(answer.get("SOPInstanceUID") == one.instance for answer in found(association, wanted))


@contextmanager
def _dicom_connection(archive: DicomArchive, ae_title: str, paths: Sequence[Path]) -> Iterator[_DicomConnection]:
    contexts: dict[str, list[str]] = {}
    for path in paths:
        header = read_header(path, ["SOPClassUID"])
        syntaxes = contexts.setdefault(str(header.SOPClassUID), [])
        if (syntax := str(transfer_syntax(header))) not in syntaxes:
            syntaxes.append(syntax)
    with associated(archive, ae_title, contexts) as association:
        yield _DicomConnection(association, archive, ae_title)


class _WebConnection:
    """STOW-RS, one object at a time; see `medley.node.delivery.Connection`."""

    def __init__(self, client: DICOMwebClient) -> None:
        self._client = client

    def send(self, path: Path) -> None:
        with without_warnings(), answering(refusing=True):
            answer = self._client.store_instances([dcmread(path)])
        failed = answer.get("FailedSOPSequence") if answer is not None else None
        if failed:
            raise Refused(f"failure reason {int(failed[0].get('FailureReason') or 0):#06x}")

    def has(self, one: Received) -> bool:
        with answering():
            answers = self._client.search_for_instances(
                one.study, one.series, search_filters={"SOPInstanceUID": one.instance}
            )
        return any(one.instance in (answer.get("00080018", {}).get("Value") or ()) for answer in answers)


@contextmanager
def _web_connection(client: DICOMwebClient, paths: Sequence[Path]) -> Iterator[_WebConnection]:
    yield _WebConnection(client)


@contextmanager
def answering(*, refusing: bool = False) -> Iterator[None]:
    """Turn errors of the HTTP client into `Unreachable`, or `Refused` where the server answers that it will not.

    Parameters
    ----------
    refusing: whether the server can refuse an object.
    """
    try:
        yield
    except requests.HTTPError as error:
        code = error.response.status_code if error.response is not None else 0
        if refusing and code not in (*_BUSY, 401, 403):
            raise Refused(f"HTTP status {code}") from error
        raise Unreachable(f"HTTP status {code}") from error
    except (requests.RequestException, OSError) as error:
        raise Unreachable(f"no answer ({type(error).__name__})") from error


def web_client(archive: WebArchive) -> DICOMwebClient:
    """A client that does not repeat requests: the queue does.

    Raises
    ------
    MedleyError: the file with the password or the certificates cannot be read.
    """
    if archive.user is not None and archive.password_file is not None:
        try:
            password = archive.password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise MedleyError(f"password_file: {archive.password_file} cannot be read: {one_line(error)}") from error
        session = create_session_from_user_pass(archive.user, password)
    else:
        session = requests.Session()
    if archive.authorities is not None:
        if not archive.authorities.is_file():
            raise MedleyError(f"authorities: {archive.authorities} does not exist; give a PEM file")
        session.verify = str(archive.authorities)
    client = DICOMwebClient(archive.url.rstrip("/"), session=session, callback=_limited, timeout=TIMEOUT)
    client.set_http_retry_params(retry=False)
    return client


def _limited(response: requests.Response, *_: Any, **__: Any) -> requests.Response:
    """A hook of requests: an answer that is or becomes too long is an error before it fills the memory."""
    content, count = response.iter_content, 0

    def pieces(*arguments: Any, **options: Any) -> Iterator[bytes]:
        nonlocal count
        for piece in content(*arguments, **options):
            count += len(piece)
            if count > _LARGEST_REPLY:
                raise requests.exceptions.ContentDecodingError("the answer is too long")
            yield piece

    response.iter_content = pieces  # type: ignore[method-assign]
    return response


def _code(status: Dataset) -> str:
    return f"0x{int(status.Status):04X}" if status and "Status" in status else "no answer"


def echo(archive: DicomArchive, ae_title: str) -> bool:
    """Whether a DICOM application answers C-ECHO."""
    try:
        with associated(archive, ae_title, queries(UID(Verification))) as association:
            return bool(association.send_c_echo())
    except Unreachable:
        return False
