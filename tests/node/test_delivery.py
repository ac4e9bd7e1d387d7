"""Sending: retries with a growing pause, refusals, and no object twice."""

import pytest
from tests.node.made_node import SOCKETS, FakeArchive, Refused, Unreachable, send, states, step, storage

from medley.node.archives import connections
from medley.node.receiver import Receiver
from medley.node.settings import Retry

pytestmark = SOCKETS


@pytest.fixture
def ready(node, series, clock):
    """A node that has received a series, which is complete."""
    with Receiver(node.intake):
        send(node, series)
    clock.pass_(500)
    return node


def test_pauses_double_up_to_the_longest():
    retry = Retry(first_seconds=30, longest_seconds=200)
    assert [retry.pause(k) for k in (1, 2, 3, 4, 9999)] == [30, 60, 120, 200, 200]


def test_an_archive_that_is_down_is_tried_again_without_an_end(ready, archive, clock):
    archive.down = True
    for _ in range(100):
        step(ready)
        clock.pass_(3600)
    assert states(ready) == ["sending"]
    archive.down = False
    step(ready)
    assert states(ready) == ["done"]
    assert len(archive.received) == len(set(archive.received)) == 5


def test_nothing_is_sent_before_its_time(ready, archive, clock):
    archive.down = True
    step(ready)
    archive.down = False
    clock.pass_(29)
    step(ready)
    assert archive.received == []
    clock.pass_(1)
    step(ready)
    assert len(archive.received) == 5


def test_a_connection_that_ends_midway_continues_with_the_rest(ready, archive, clock):
    archive.trouble = [None, None, Unreachable("no answer")]
    step(ready)
    assert len(archive.received) == 2
    clock.pass_(30)
    step(ready)
    assert states(ready) == ["done"]
    assert len(archive.received) == len(set(archive.received)) == 5


def test_an_answer_that_was_lost_does_not_send_the_object_again(ready, archive, clock, monkeypatch):
    arrived = FakeArchive.send

    def lost(self, path):
        arrived(self, path)
        raise Unreachable("no answer")

    monkeypatch.setattr(FakeArchive, "send", lost)
    step(ready)
    monkeypatch.undo()
    clock.pass_(30)
    step(ready)
    assert states(ready) == ["done"]
    assert len(archive.received) == len(set(archive.received)) == 5


def test_a_series_that_is_refused_again_and_again_is_set_aside_and_can_be_tried_again(ready, archive, clock):
    archive.trouble = [Refused("status 0xC000")] * 5
    for _ in range(5):
        assert states(ready)[0] in ("receiving", "sending")
        step(ready)
        clock.pass_(3600)
    (entry,) = ready.queue.entries()
    assert (entry.state, entry.reason) == ("aside", "pacs refused an object: status 0xC000")
    assert ready.queue.retry(1, clock()) == "sending"
    step(ready)
    assert states(ready) == ["done"]
    assert len(archive.received) == 5


def test_an_archive_without_space_is_not_a_refusal(ready, content, clock, make_node):
    port = content["archives"]["pacs"]["dicom"]["port"] = ready.settings.port  # free while the node does not listen
    node = make_node()
    node.delivery.archives.update(connections(node.settings))
    full = True
    with storage(port, status=lambda count: 0xA700 if full else 0) as received:
        for _ in range(10):
            step(node)
            clock.pass_(3600)
        assert states(node) == ["sending"]
        full = False
        step(node)
        assert states(node) == ["done"]
    assert len(received) == len(set(received)) == 5


@pytest.mark.parametrize("queries", [True, False])
def test_an_archive_is_asked_whether_an_object_has_arrived(ready, content, clock, make_node, queries):
    port = content["archives"]["pacs"]["dicom"]["port"] = ready.settings.port
    content["archives"]["pacs"]["look_up"] = queries
    node = make_node()
    node.delivery.archives.update(connections(node.settings))
    with storage(port, queries=queries) as received:
        step(node)
        assert states(node) == ["done"]
        with node.queue._database.transaction() as database:  # as after a crash, before the answers were noted
            database.execute("UPDATE results SET state = 'sending'")
            database.execute("UPDATE series SET state = 'sending'")
        step(node)
        assert states(node) == ["done"]
        assert len(received) == (5 if queries else 10)
        assert len(set(received)) == 5
