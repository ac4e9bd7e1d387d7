"""What the node accepts from its peers, and what ends an association."""

import socket
import struct

import pytest
from pydicom import dcmread
from tests.node.made_node import SOCKETS, send, sending, states, step, wait_until

from medley.node.receiver import Receiver

pytestmark = SOCKETS


@pytest.fixture
def receiving(node):
    with Receiver(node.intake):
        yield node


def objects(node):
    return sorted((node.settings.folder / "objects").iterdir())


def test_a_series_is_received_and_named_by_the_node(receiving, series):
    assert send(receiving, series) == [0] * 5
    (entry,) = receiving.queue.entries()
    assert entry.state == "receiving"
    files, images = receiving.queue.contents(entry.number)
    assert images == 5
    uids = {str(getattr(dcmread(one), name)) for one in series for name in ("SOPInstanceUID", "SeriesInstanceUID")}
    assert not [file for file in files for uid in uids if uid in file]
    for file, source in zip(files, series, strict=True):
        assert dcmread(receiving.intake.folder / file) == dcmread(source)


def test_echo(receiving):
    with sending(receiving) as association:
        assert association.send_c_echo().Status == 0


@pytest.mark.parametrize("titles", [{"calling": "STRANGER"}, {"called": "OTHER"}])
def test_other_titles_are_rejected(receiving, titles):
    with sending(receiving, **titles) as association:
        assert association.is_rejected


def test_another_address_is_refused(make_node, series):
    node = make_node(peers=[{"ae_title": "SCANNER", "address": "10.0.0.0/8"}])
    with Receiver(node.intake), sending(node) as association:
        assert not association.is_established
    assert "127.0.0.1, which is not the address of a peer" in node.lines[0]


def test_the_title_of_a_peer_at_the_address_of_another_is_rejected(make_node):
    peers = [{"ae_title": "SCANNER", "address": "10.0.0.1"}, {"ae_title": "OTHER", "address": "127.0.0.1"}]
    node = make_node(peers=peers)
    with Receiver(node.intake):
        with sending(node) as association:
            assert association.is_rejected
        with sending(node, calling="OTHER") as association:
            assert association.is_established


def test_associations_are_limited(receiving):
    with sending(receiving), sending(receiving), sending(receiving), sending(receiving) as fourth:
        assert fourth.is_rejected
    wait_until(lambda: not is_busy(receiving))


def test_connections_without_an_association_are_limited(make_node):
    node = make_node(limits={"free_disk": 0, "associations": 3, "idle_seconds": 2})
    with Receiver(node.intake):
        idle = [socket.create_connection(("127.0.0.1", node.settings.port)) for _ in range(12)]
        try:
            wait_until(lambda: len(node.lines) >= 12 - 7)
            assert node.lines[:5] == ["refused a connection from 127.0.0.1: too many are open"] * 5
        finally:
            for one in idle:
                one.close()
        wait_until(lambda: not is_busy(node))


def is_busy(node):
    with sending(node) as association:
        return not association.is_established


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x01\x00\xff\xff\xff\xff",  # an association request of 4 GB
        b"\x04\x00" + struct.pack(">L", 6) + b"\0\0\0\2\1\3",  # data without an association
        b"\x01\x00" + struct.pack(">L", 8) + b"\0\1\0\0abcd",  # cut off
        b"\x01\x00" + struct.pack(">L", 100) + b"\xff" * 100,
        b"\x08\x00\0\0\0\0",
    ],
    ids=["http", "4 GB", "data", "short", "noise", "unknown"],
)
def test_a_malformed_association_ends_its_connection_only(receiving, series, data):
    with socket.create_connection(("127.0.0.1", receiving.settings.port), timeout=10) as peer:
        peer.sendall(data)
        while peer.recv(1000):
            pass
    assert send(receiving, series[:1]) == [0]


def raw(association, data: bytes, kind: int, context: int) -> None:
    """Send one presentation data value, as it is (PS3.8 annex E)."""
    pdv = struct.pack(">LBB", len(data) + 2, context, kind) + data
    association.dul.socket.socket.sendall(b"\x04\x00" + struct.pack(">L", len(pdv)) + pdv)


def store_command(association, uid="1.2.3"):
    """The command set of a C-STORE request and the id of its context."""
    from pynetdicom.dimse_messages import C_STORE_RQ
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.dsutils import encode

    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", uid
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    message.command_set.CommandDataSetType = 1
    context = next(one for one in association.accepted_contexts if one.abstract_syntax == "1.2.840.10008.5.1.4.1.1.2")
    return encode(message.command_set, True, True), context.context_id


def test_an_endless_object_is_ended_at_the_limit(receiving):
    with sending(receiving) as association:
        command, context = store_command(association)
        raw(association, command, 3, context)
        for _ in range(100):
            try:
                raw(association, bytes(100_000), 0, context)
            except OSError:
                break
        wait_until(lambda: not association.is_established)
    assert receiving.lines == ["ended an association: an object is larger than 2,000,000 bytes"]
    wait_until(lambda: objects(receiving) == [])
    assert states(receiving) == []


def test_an_interrupted_object_leaves_nothing(receiving, series):
    with sending(receiving) as association:
        assert association.send_c_store(dcmread(series[0])).Status == 0
        command, context = store_command(association)
        raw(association, command, 3, context)
        raw(association, bytes(50_000), 0, context)
        wait_until(lambda: len(objects(receiving)) == 2)
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: len(objects(receiving)) == 1)
    assert receiving.queue.entries()[0].released is None  # an abort does not complete a series


def test_an_endless_command_ends_the_association(receiving):
    with sending(receiving) as association:
        _, context = store_command(association)
        for _ in range(4):
            raw(association, bytes(10_000), 1, context)
        wait_until(lambda: not association.is_established)
    assert "malformed" in receiving.lines[0]


def test_an_object_that_announces_gigabytes_of_pixels_is_refused(receiving, series):
    huge = dcmread(series[0])
    huge.NumberOfFrames, huge.Rows, huge.Columns = 40, 10_000, 15_000
    with sending(receiving) as association:
        assert association.send_c_store(huge).Status == 0xA700
        assert association.send_c_store(dcmread(series[1])).Status == 0
    assert receiving.lines == ["refused an object: its header announces 12,000,000,000 bytes of pixels"]
    assert len(objects(receiving)) == 1


def test_uids_that_are_not_those_of_the_request_are_refused(receiving, series):
    with sending(receiving) as association:
        command, context = store_command(association, "1.2.3")
        whole = dcmread(series[0])
        from pynetdicom.dsutils import encode

        raw(association, command, 3, context)
        raw(association, encode(whole, True, True), 2, context)
        wait_until(lambda: receiving.lines)
    assert receiving.lines == ["refused an object: its UIDs are not those of the request"]


def test_an_object_without_its_series_is_refused(receiving, series):
    one = dcmread(series[0])
    del one.SeriesInstanceUID
    with sending(receiving) as association:
        assert association.send_c_store(one).Status == 0xC000
    assert objects(receiving) == []


def test_too_little_free_space_is_answered_so_that_the_sender_keeps_the_object(make_node, series):
    node = make_node(limits={"free_disk": 10**18, "idle_seconds": 30})
    with Receiver(node.intake):
        assert send(node, series[:2]) == [0xA700] * 2
    assert objects(node) == []


def test_a_queue_that_cannot_be_written_is_answered_so_that_the_sender_keeps_the_object(receiving, series, monkeypatch):
    import sqlite3

    class Full:
        in_transaction = False

        def execute(self, *_):
            raise sqlite3.OperationalError("database or disk is full")

        def close(self):
            pass

    monkeypatch.setattr(receiving.queue._database, "connection", Full())
    assert send(receiving, series[:1]) == [0xA700]
    assert objects(receiving) == []


def test_the_same_object_twice_is_one(receiving, series, archive, clock):
    assert send(receiving, [*series, *series]) == [0] * 10
    assert len(objects(receiving)) == 5
    wait_until(lambda: receiving.queue.entries()[0].released is not None)
    clock.pass_(10)
    step(receiving)
    assert states(receiving) == ["done"]
    assert send(receiving, series) == [0] * 5  # also after the results were sent
    clock.pass_(500)
    step(receiving)
    assert states(receiving) == ["done"]
    assert len(archive.received) == 5


def test_the_log_and_the_metrics_have_no_patient_data(receiving, series, clock):
    from prometheus_client import generate_latest

    named = dcmread(series[0])
    named.PatientName, named.PatientID, named.SeriesDescription = "Secret^Name", "SECRET-ID", "secret words"
    with sending(receiving) as association:
        assert association.send_c_store(named).Status == 0
    clock.pass_(500)
    step(receiving)
    said = "\n".join(receiving.lines) + generate_latest(receiving.metrics.registry).decode()
    assert "medley_pacs_received_objects_total 1.0" in said
    assert 'medley_pacs_series{state="done"} 1.0' in said
    for secret in ("secret", named.SOPInstanceUID, named.SeriesInstanceUID, named.StudyInstanceUID):
        assert secret not in said.lower()
