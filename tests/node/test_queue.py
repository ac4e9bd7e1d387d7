"""The queue: its transitions, and when a series is complete."""

from dataclasses import replace

import pytest

from medley.errors import MedleyError
from medley.node.completion import verdict
from medley.node.database import QueueUnusable
from medley.node.header import Received
from medley.node.queue import STATES, Entry, Queue
from medley.node.settings import Completion

ONE = Received("1", "1.1", "1.1.1", "1.2", "CT", images=1)


@pytest.fixture
def queue(tmp_path):
    return Queue(tmp_path / "queue")


def put(queue, number=1, now=0.0, digest="a", **changes):
    one = replace(ONE, instance=f"1.1.{number}", **changes)
    return queue.add(one, "SCANNER", f"{number}-{digest}.dcm", digest, now)


def to(queue, state):
    """Bring a new series into a state; returns its number."""
    number, _ = put(queue)
    if state == "receiving":
        return number
    (entry,) = queue.entries("receiving")
    assert queue.close_series(entry, "skipped" if state == "skipped" else "ready", 1.0)
    if state in ("skipped", "ready"):
        return number
    assert queue.take(2.0).number == number
    if state == "aside":
        queue.set_aside(number, "it failed", 3.0)
    if state in ("sending", "done"):
        queue.processed(number, ["a.dcm", "b.dcm"], ["pacs"], 3.0)
    if state == "done":
        assert [queue.sent(one, 4.0) for one in queue.due(4.0)] == [False, True]
    return number


@pytest.mark.parametrize("state", STATES)
def test_every_state_is_reached_and_survives_a_new_process(queue, tmp_path, state):
    number = to(queue, state)
    queue.close()
    (entry,) = Queue(tmp_path / "queue").entries()
    assert (entry.number, entry.state) == (number, state)
    assert entry.reason == ("it failed" if state == "aside" else "")


TRANSITIONS = {
    "take": (lambda queue, number: queue.take(9.0) is not None, {"ready", "processing"}),
    "processed": (lambda queue, number: queue.processed(number, ["c"], ["pacs"], 9.0), {"processing"}),
    "set_aside": (lambda queue, number: queue.set_aside(number, "x", 9.0), set(STATES[:4])),
    "retry": (lambda queue, number: queue.retry(number, 9.0), {"aside"}),
    "discard": (lambda queue, number: queue.discard(number, 9.0), {"aside"}),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", TRANSITIONS)
def test_a_transition_from_another_state_changes_nothing(queue, state, name):
    number = to(queue, state)
    act, allowed = TRANSITIONS[name]
    try:
        happened = act(queue, number) is not False
    except MedleyError:
        happened = False
    assert happened == (state in allowed)
    if not happened:
        assert queue.entries()[0].state == state


def test_the_same_content_is_known_and_other_content_replaces(queue):
    assert put(queue) == (1, None)
    assert put(queue) == (1, "1-a.dcm")
    assert put(queue, digest="b") == (1, "1-a.dcm")
    assert queue.contents(1) == (["1-b.dcm"], 1)


def test_an_object_that_comes_after_the_series_was_closed_opens_it_again(queue):
    number = to(queue, "ready")
    assert put(queue, 2)[0] == number
    assert queue.entries()[0].state == "receiving"


@pytest.mark.parametrize("state", ["processing", "sending"])
def test_a_late_object_waits_for_the_work_on_its_series_and_then_takes_the_others_along(queue, state):
    to(queue, state)
    later, _ = put(queue, 2, now=5.0)
    assert later == 2
    (entry,) = queue.entries("receiving")
    assert not queue.close_series(entry, "ready", 6.0)
    if state == "processing":
        queue.processed(1, ["a"], ["pacs"], 7.0)
    for one in queue.due(8.0):
        queue.sent(one, 8.0)
    assert queue.close_series(entry, "ready", 9.0)
    assert queue.contents(later) == (["1-a.dcm", "2-a.dcm"], 2)
    assert [one.state for one in queue.entries()] == ["done", "ready"]


def test_a_series_that_was_set_aside_continues_with_what_arrives_later(queue):
    put(queue, 1)
    queue.set_aside(1, "1 of 2 objects arrived", 1.0)
    later, _ = put(queue, 2, now=5.0)
    assert queue.contents(later)[1] == 2
    assert [one.state for one in queue.entries()] == ["skipped", "receiving"]


def test_closing_notices_an_object_that_has_just_arrived(queue):
    put(queue, 1, now=1.0)
    (entry,) = queue.entries()
    put(queue, 2, now=2.0)
    assert not queue.close_series(entry, "ready", 3.0)


def test_results_go_to_each_archive_and_the_last_one_ends_the_series(queue):
    to(queue, "processing")
    queue.processed(1, ["a", "b"], ["one", "two"], 3.0)
    due = queue.due(3.0)
    assert [(one.archive, one.file) for one in due] == [("one", "a"), ("one", "b"), ("two", "a"), ("two", "b")]
    queue.postpone(1, "one", 100.0)
    assert {one.archive for one in queue.due(3.0)} == {"two"}
    assert [queue.sent(one, 4.0) for one in due] == [False, False, False, True]
    assert queue.counts() == ({**dict.fromkeys(STATES, 0), "done": 1}, {})


def test_finished_series_are_forgotten_and_only_those(queue):
    to(queue, "done")
    assert queue.forget(4.0) == ([], [])
    assert queue.forget(5.0) == ([1], ["1-a.dcm"])
    assert queue.entries() == []
    to(queue, "aside")
    assert queue.forget(1e9) == ([], [])


def test_a_queue_of_another_version_is_refused(tmp_path):
    queue = Queue(tmp_path)
    queue._database.connection.execute("PRAGMA user_version = 99")
    queue.close()
    with pytest.raises(MedleyError, match="another version"):
        Queue(tmp_path)


def test_a_damaged_queue_is_one_sentence(tmp_path):
    (tmp_path / "queue.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(QueueUnusable, match="queue cannot be used"):
        Queue(tmp_path)


ENTRY = {"number": 1, "study": "1", "uid": "1.1", "sender": "S", "state": "receiving", "reason": "", "changed": 0.0}


@pytest.mark.parametrize(
    ("expected", "objects", "released", "now", "is_complete"),
    [
        (None, 3, None, 100.0, None),  # the association is open
        (None, 3, 100.0, 104.0, None),
        (None, 3, 100.0, 105.0, True),  # released_seconds after its end
        (None, 3, None, 220.0, True),  # quiet_seconds after the last object
        (4, 3, 100.0, 110.0, None),  # one is missing: the end of the association does not count
        (4, 4, None, 100.0, True),  # at once
        (4, 3, 100.0, 220.0, False),
    ],
)
def test_a_series_is_complete_by_count_by_release_and_by_quiet_time(expected, objects, released, now, is_complete):
    entry = Entry(**ENTRY, expected=expected, arrived=100.0, released=released)
    answer = verdict(entry, objects, now, Completion(released_seconds=5, quiet_seconds=120))
    assert (answer is None, answer == "") == (is_complete is None, is_complete is True)
    if is_complete is False:
        assert answer == "3 of 4 objects arrived, and none for 120 seconds"
