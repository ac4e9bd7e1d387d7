"""The Storage SCP: answers C-ECHO, and puts the objects of its peers into the queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from types import TracebackType
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from medley.errors import MedleyError
from medley.node.header import read_received
from medley.node.incoming import Incoming
from medley.node.metrics import NodeMetrics
from medley.node.network import Log, Server, StorageProvider, limit, silence_libraries
from medley.node.queue import Queue
from medley.node.settings import PacsSettings

OBJECTS = "objects"  # the folder of received objects
# Status of C-STORE, PS3.4 table B.2-1.
SUCCESS, OUT_OF_RESOURCES, MISMATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
# Transfer syntaxes that medley reads. A deflated object could grow without a limit when it is read.
SYNTAXES = tuple(
    UID(f"1.2.840.10008.1.2{end}")
    for end in ("", ".1", ".2", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91", ".5")
)


@dataclass
class Intake:
    """Puts objects, each in a file in the folder of objects, into the queue. Used by the receiver and by `pull`.

    Attributes
    ----------
    clock: seconds since 1970. log: takes a line without patient data.
    """

    settings: PacsSettings
    queue: Queue
    metrics: NodeMetrics
    clock: Callable[[], float]
    log: Log
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder = self.settings.folder / OBJECTS
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, incoming: Incoming, sender: str, named: tuple[str, str] | None = None) -> tuple[int, int | None]:
        """Put an object into the queue; its file is removed if it is not needed.

        Parameters
        ----------
        named: the SOP class and instance UIDs that the sender stated besides the object.

        Returns
        -------
        The status for the sender, and the number of the series; None if the object was refused.
        """
        incoming.finish()
        try:
            if incoming.problem:
                return self._refuse(incoming, OUT_OF_RESOURCES, incoming.problem)
            try:
                one = read_received(incoming.path)
            except MedleyError:
                return self._refuse(incoming, CANNOT_UNDERSTAND, "its header cannot be read")
            if named and named != (one.sop_class, one.instance):
                return self._refuse(incoming, MISMATCH, "its UIDs are not those of the request")
            if one.pixels > self.settings.limits.pixels_size:
                reason = f"its header announces {one.pixels:,} bytes of pixels"
                return self._refuse(incoming, OUT_OF_RESOURCES, reason)
            number, unneeded = self.queue.add(one, sender, incoming.path.name, incoming.digest, self.clock())
        except MedleyError:
            return self._refuse(incoming, OUT_OF_RESOURCES, "the queue cannot be written; is the disk full?")
        if unneeded:
            (self.folder / unneeded).unlink(missing_ok=True)
        (self.metrics.duplicates if unneeded == incoming.path.name else self.metrics.received).inc()
        return SUCCESS, number

    def _refuse(self, incoming: Incoming, status: int, reason: str) -> tuple[int, None]:
        incoming.discard()
        incoming.path.unlink(missing_ok=True)
        self.metrics.refused.inc()
        self.log(f"refused an object: {reason}")
        return status, None


class Receiver:
    """The Storage SCP, in threads of its own, from the beginning to the end of a `with` block.

    Raises
    ------
    MedleyError: the address cannot be used, or the TLS files.
    """

    def __init__(self, intake: Intake) -> None:
        silence_libraries()
        self.intake = intake
        self._server: Server | None = None
        self._open: dict[Association, set[int]] = {}  # associations, and the series that they have sent objects of
        self._lock = Lock()
        settings = intake.settings
        self._ae = AE(settings.ae_title)
        self._ae.require_called_aet = True
        self._ae.maximum_pdu_size = int(settings.limits.pdu_size)
        self._ae.maximum_associations = settings.limits.associations
        self._ae.network_timeout = self._ae.acse_timeout = settings.limits.idle_seconds
        self._ae.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(str(context.abstract_syntax), list(SYNTAXES))

    def __enter__(self) -> Receiver:
        settings = self.intake.settings
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._connected),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_C_ECHO, lambda event: SUCCESS),
            (evt.EVT_C_STORE, self._stored),
            (evt.EVT_RELEASED, self._released),
        ]
        try:
            server = self._ae.make_server(
                (settings.address, settings.port),
                evt_handlers=handlers,
                server_class=Server,
                peers=settings.peers,
                limits=settings.limits,
                tls=settings.tls,
                log=self.intake.log,
                ended=self._ended,
            )
        except OSError as error:
            raise MedleyError(
                f"{settings.address}:{settings.port} cannot be used: {error.strerror}; choose another address or port"
            ) from error
        assert isinstance(server, Server)
        self._server = server
        self._thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.shutdown()

    def _connected(self, event: evt.Event) -> None:
        assert self._server is not None
        self._server.here.association = event.assoc
        limit(event.assoc, self.intake.folder, self.intake.settings.limits, self.intake.log)
        with self._lock:
            self._open[event.assoc] = set()

    def _requested(self, event: evt.Event) -> None:
        """Reject an association whose AE title does not belong to its address (PS3.8 table 9-21)."""
        requestor = event.assoc.requestor
        assert requestor.primitive is not None
        assert requestor.address_info is not None
        title, address = requestor.primitive.calling_ae_title, requestor.address_info.address
        if not any(peer.ae_title == title and peer.is_at(address) for peer in self.intake.settings.peers):
            self.intake.log(f"refused an association from {address}: its AE title is not that of a peer there")
            event.assoc.acse.send_reject(0x01, 0x01, 0x03)  # permanent, service user, calling AE title not recognised
            event.assoc.kill()

    def _stored(self, event: evt.Event) -> int:
        request = event.request
        assert isinstance(request, C_STORE)
        assert isinstance(request.DataSet, Incoming)
        named = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        status, number = self.intake.put(request.DataSet, event.assoc.requestor.ae_title, named)
        if number is not None:
            with self._lock:
                self._open.setdefault(event.assoc, set()).add(number)
        return status

    def _released(self, event: evt.Event) -> None:
        """Note the end of an association for those of its series that no other open association has sent objects of."""
        with self._lock:
            numbers = self._open.pop(event.assoc, set())
            for others in self._open.values():
                numbers = numbers - others
        self.intake.queue.released(numbers, self.intake.clock())

    def _ended(self, association: Association) -> None:
        """Remove what was not received to its end."""
        if isinstance(association.dimse, StorageProvider):
            association.dimse.discard()
        with self._lock:
            self._open.pop(association, None)
