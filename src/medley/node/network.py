"""The DICOM server with limits of our own.

pynetdicom 3.0 believes the length of a PDU, keeps a whole object in memory, waits for the rest of a PDU without an end,
starts threads for every connection, and does the TLS handshake of one connection while all others wait. Here a limit
is checked in each of these places, through its public classes: the server, the request handler, the association's
socket and its DIMSE provider.
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from socketserver import BaseServer
from threading import Lock, local
from typing import Any

from pydicom.dataset import FileMetaDataset
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dsutils import create_file_meta
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from medley.errors import MedleyError
from medley.node.incoming import Incoming, TooLarge
from medley.node.settings import Limits, Peer, Tls
from medley.runtime.atomic import one_line

_REQUEST_SIZE = 2**18  # bytes of an association request; one with all storage classes has about 60,000
_COMMAND_SIZE = 2**14  # bytes of a command set; they have a few hundred
_WAITING = 4  # connections that may wait to be refused in words, beyond the limit of associations
_CHUNK = 2**16

Log = Callable[[str], None]


def silence_libraries() -> None:
    """Turn the log of the DICOM libraries off: it contains names, UIDs and tracebacks."""
    _config.LOG_HANDLER_LEVEL = "none"
    for name in ("pynetdicom", "pydicom", "dicomweb_client"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def server_context(tls: Tls) -> ssl.SSLContext:
    """TLS for the server; clients must show a certificate that one of the authorities signed.

    Raises
    ------
    MedleyError: a file cannot be read, or is not what it should be.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, tls)


def client_context(tls: Tls) -> ssl.SSLContext:
    """TLS for a client, with a certificate; that of the server must be signed by one of the authorities and have the
    name or address that is called.

    Raises
    ------
    MedleyError: as for `server_context`.
    """
    return _loaded(ssl.create_default_context(ssl.Purpose.SERVER_AUTH), tls)


def _loaded(context: ssl.SSLContext, tls: Tls) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        context.load_verify_locations(tls.authorities)
    except (OSError, ssl.SSLError) as error:
        raise MedleyError(
            f"tls: {tls.certificate}, {tls.key} or {tls.authorities} cannot be used: {one_line(error)}; expected PEM "
            "files, the key without a password"
        ) from error
    return context


class Server(ThreadedAssociationServer):
    """Accepts connections of the peers only, and so many at the same time.

    Parameters
    ----------
    peers, limits, tls: see `medley.node.settings`. log: takes one line without patient data.
    ended: called after the end of an association, however it ended.
    arguments: as of `ThreadedAssociationServer`.

    Attributes
    ----------
    here: `here.association` is that of the current thread; it must be set when a connection is opened.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        *arguments: Any,
        peers: Sequence[Peer],
        limits: Limits,
        tls: Tls | None,
        log: Log,
        ended: Callable[[Association], None],
        **more: Any,
    ) -> None:
        self.peers, self.limits, self.log, self.ended = peers, limits, log, ended
        self.here = local()
        self._requests: set[socket.socket] = set()  # open connections
        self._tls = server_context(tls) if tls else None
        self._starting = 0  # connections whose association is not yet counted by `active_associations`
        self._count = Lock()
        super().__init__(*arguments, **{**more, "request_handler": _Handler})

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. The TLS handshake is left to the thread of the connection."""
        assert self.socket is not None
        client, address = self.socket.accept()
        client.settimeout(self.limits.idle_seconds)
        if self._tls:
            client = self._tls.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return client, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a connection is from the address of a peer, and not one too many."""
        if not any(peer.is_at(client_address[0]) for peer in self.peers):
            self.log(f"refused a connection from {client_address[0]}, which is not the address of a peer")
            return False
        with self._count:
            if len(self.active_associations) + self._starting >= self.limits.associations + _WAITING:
                self.log(f"refused a connection from {client_address[0]}: too many are open")
                return False
            self._starting += 1
            self._requests.add(request)
        return True

    def started(self) -> None:
        """The association of a connection has started, or the connection has failed."""
        with self._count:
            self._starting -= 1

    def shutdown(self) -> None:
        """Stop accepting connections, close the port and all connections."""
        BaseServer.shutdown(self)
        self.server_close()
        with self._count:
            for one in list(self._requests):
                one.close()

    def close_request(self, request: Any) -> None:
        """Close a connection."""
        with self._count:
            self._requests.discard(request)
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection failed before its association began."""
        self.log(f"a connection from {client_address[0]} failed before the association")


class _Handler(RequestHandler):
    """Does the TLS handshake, starts the association, and closes the connection after its end.

    pynetdicom leaves the socket open where the peer was the first to close it.
    """

    def handle(self) -> None:
        assert isinstance(self.server, Server)
        try:
            if isinstance(self.request, ssl.SSLSocket):
                self.request.do_handshake()
            super().handle()  # calls the handler of EVT_CONN_OPEN, which sets `association`
        finally:
            self.server.started()
        association = self.server.here.association
        association.join()
        self.server.ended(association)
        self.server.close_request(self.request)


def limit(association: Association, folder: Path, limits: Limits, log: Log) -> None:
    """Apply the limits to an association that has just been connected.

    Parameters
    ----------
    folder: for the files of objects that are received.
    """
    wrapped = association.dul.socket
    assert wrapped is not None
    largest = max(limits.pdu_size, _REQUEST_SIZE)

    def receive(count: int) -> bytearray:
        if count > largest:
            log(f"ended an association: a PDU of {count:,} bytes was announced, the limit is {largest:,}")
            raise OSError("the PDU is too long")
        return _receive(wrapped, count, limits.idle_seconds)

    setattr(wrapped, "recv", receive)  # noqa: B010  # mypy: a method of an instance is replaced
    association.dimse = StorageProvider(association, folder, limits, log)


def _receive(wrapped: AssociationSocket, count: int, seconds: float) -> bytearray:
    """`count` bytes, or fewer where the connection ended.

    Raises
    ------
    TimeoutError: they did not arrive within that many seconds.
    """
    end = time.monotonic() + seconds
    received = bytearray()
    while len(received) < count:
        if wrapped.socket is None:
            break
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        wrapped.socket.settimeout(left)
        piece = wrapped.socket.recv(min(count - len(received), _CHUNK))
        if not piece:
            break
        received += piece
    return received


class StorageProvider(DIMSEServiceProvider):
    """Writes objects to files while they arrive, and ends the association of a peer that exceeds a limit."""

    def __init__(self, association: Association, folder: Path, limits: Limits, log: Log) -> None:
        super().__init__(association)
        self._folder, self._limits, self._log = folder, limits, log
        self._incoming: Incoming | None = None

    def receive_primitive(self, primitive: P_DATA) -> None:
        """As the base class, but within limits; a message that cannot be decoded ends the association."""
        try:
            if self.message is None:
                self.message = DIMSEMessage()
                self._incoming = Incoming(
                    self._folder, self._file_meta, self._limits.object_size, self._limits.free_disk
                )
                self.message.data_set = self._incoming
            super().receive_primitive(primitive)
            if self.message is None:
                self._incoming = None  # complete: it belongs to the request now
            elif self.message.encoded_command_set.tell() > _COMMAND_SIZE:
                raise ValueError("the command set is too long")
        except TooLarge:
            self._end(f"an object is larger than {self._limits.object_size:,} bytes")
        except Exception as error:  # a malformed message makes pynetdicom raise nearly anything
            self._end(f"a malformed message ({type(error).__name__})")

    def discard(self) -> None:
        """Remove the file of an object that was not received to its end."""
        if self._incoming is not None:
            self._incoming.discard()
            self._incoming = None

    def _end(self, reason: str) -> None:
        self._log(f"ended an association: {reason}")
        self.discard()
        self.dul.event_queue.put("Evt19")  # an invalid PDU was received: A-ABORT (PS3.8 table 9-10)

    def _file_meta(self) -> FileMetaDataset:
        message = self.message
        if not isinstance(message, C_STORE_RQ):
            raise ValueError("only C-STORE requests have a data set here")
        context = next(one for one in self.assoc.accepted_contexts if one.context_id == message.context_id)
        command = message.command_set
        return create_file_meta(
            sop_class_uid=command.AffectedSOPClassUID,
            sop_instance_uid=command.AffectedSOPInstanceUID,
            transfer_syntax=context.transfer_syntax[0],
        )
