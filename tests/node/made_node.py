"""Parts for tests of the node: a clock, an archive and a network that the test controls, and programs that send."""

import socket
import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom is not installed (the extra pacs)")

from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts, build_context

from medley.node.delivery import Refused, Unreachable
from medley.node.node import Node

SCANNER = "SCANNER"
# Verification, storage of CT, MR, enhanced CT.
KINDS = ["1.2.840.10008.1.1", *(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "4", "2.1"))]
# pynetdicom leaves sockets whose connection failed to the garbage collector.
SOCKETS = pytest.mark.filterwarnings("ignore:Exception ignored in. <s.*socket:pytest.PytestUnraisableExceptionWarning")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


class FakeArchive:
    """An archive in memory. `trouble`: what the next calls of send raise, None for nothing."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.trouble: list[Exception | None] = []
        self.down = False

    @contextmanager
    def connect(self, paths):
        if self.down:
            raise Unreachable("no connection")
        yield self

    def send(self, path: Path) -> None:
        if self.trouble and (problem := self.trouble.pop(0)):
            raise problem
        self.received.append(str(dcmread(path, stop_before_pixels=True).SOPInstanceUID))

    def has(self, one) -> bool:
        return one.instance in self.received

    unreachable, refused = Unreachable("no connection"), Refused("status 0xC000")


def copy_files(source: Path, output: Path, rule) -> None:
    """In place of a network: results are copies with other UIDs, so that they are always the same."""
    output.mkdir()
    for file in sorted(source.iterdir()):
        one = dcmread(file)
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"{one.SOPInstanceUID[:50]}.99"
        one.SeriesInstanceUID = f"{one.SeriesInstanceUID[:50]}.99"
        one.save_as(output / file.name)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def step(node: Node) -> None:
    """One turn of all loops of a node."""
    node.worker.close_complete()
    while node.worker.process_next():
        pass
    node.delivery.send_due()


def states(node: Node) -> list[str]:
    return [entry.state for entry in node.queue.entries()]


@contextmanager
def sending(node: Node, *, calling: str = SCANNER, called: str = "MEDLEY", tls=None, **options):
    """An association with a node."""
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = 60
    contexts = [build_context(kind) for kind in KINDS]
    association = ae.associate(
        "127.0.0.1", node.settings.port, contexts=contexts, ae_title=called, tls_args=tls, **options
    )
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if association.is_alive():
            association.join(10)


def send(node: Node, files) -> list[int]:
    """The status of each object that was sent through one association."""
    with sending(node) as association:
        assert association.is_established
        return [association.send_c_store(dcmread(file)).Status for file in files]


@contextmanager
def storage(port: int, *, queries: bool = True, status=lambda count: 0):
    """A real archive (C-STORE, C-FIND) in this process; gives the list of the SOP instance UIDs that arrive."""
    from pydicom.dataset import Dataset
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND

    received: list[str] = []

    def store(event):
        answer = status(len(received))
        if answer == 0:
            received.append(str(event.request.AffectedSOPInstanceUID))
        return answer

    def find(event):
        if event.identifier.SOPInstanceUID in received:
            answer = Dataset()
            answer.QueryRetrieveLevel, answer.SOPInstanceUID = "IMAGE", event.identifier.SOPInstanceUID
            yield 0xFF00, answer

    ae = AE("ARCHIVE")
    ae.supported_contexts = AllStoragePresentationContexts[:100]
    if queries:
        ae.add_supported_context(FIND)
    server = ae.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_C_FIND, find)]
    )
    try:
        yield received
    finally:
        server.shutdown()


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for another thread or process; the only waiting of these tests."""
    event = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        event.wait(0.02)
    raise AssertionError("it did not happen")
