import threading

import pytest

from medley.runtime.prefetch import made_ahead, taken_behind


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("medley")]


def noted(count, made):
    """0, 1, 2 ...; `made` tells which were asked for."""
    for k in range(count):
        made.append(k)
        yield k


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert threads() == []


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_items_are_the_same_in_order(count):
    assert list(made_ahead(range(20), count)) == list(range(20))
    assert list(made_ahead([], count)) == []
    assert taken_behind(range(20), list, count) == list(range(20))
    assert taken_behind([], list, count) == []


def test_items_are_made_in_another_thread_and_taken_in_another():
    def where():
        for _ in range(3):
            yield threading.current_thread().name

    here = threading.current_thread().name
    assert all(name.startswith("medley-ahead") for name in made_ahead(where()))
    taken = taken_behind(where(), lambda items: [(one, threading.current_thread().name) for one in items])
    assert all(made == here and there.startswith("medley-behind") for made, there in taken)


def test_nothing_is_made_before_it_is_asked_for_and_few_items_ahead():
    made = []
    stream = made_ahead(noted(50, made), 3)
    assert made == []
    for k in stream:
        assert len(made) <= k + 1 + 3
    assert len(made) == 50


def test_few_items_wait_to_be_taken():
    made = []

    def take(items):
        for k in items:
            assert len(made) <= k + 1 + 3 + 1  # in hand, waiting, and one that finds no room

    taken_behind(noted(50, made), take, 3)
    assert len(made) == 50


def test_an_error_comes_after_the_items_before_it():
    def broken():
        yield 1
        yield 2
        raise OSError("the third")

    seen = []
    with pytest.raises(OSError, match="the third"):
        seen.extend(made_ahead(broken(), 5))  # appends as they come
    assert seen == [1, 2]

    def take(items):
        try:
            seen.extend(items)
        finally:
            seen.append("tidied")

    with pytest.raises(OSError, match="the third"):
        taken_behind(broken(), take, 5)
    assert seen == [1, 2, 1, 2, "tidied"]


def test_ctrl_c_passes_through():
    def stopped():
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(made_ahead(stopped()))
    with pytest.raises(KeyboardInterrupt):
        taken_behind(stopped(), list)


@pytest.mark.parametrize("end", ["close", "drop"])
def test_who_stops_early_stops_the_making_and_closes_the_source(end):
    made, closed = [], []

    def source():
        try:
            yield from noted(1000, made)
        finally:
            closed.append(True)

    stream = made_ahead(source(), 2)
    assert next(stream) == 0
    if end == "close":
        stream.close()
    else:
        del stream
    assert closed == [True]
    assert len(made) < 10


def test_a_taker_that_fails_or_leaves_stops_the_making():
    made = []

    def fail(items):
        next(items)
        raise ValueError("the disk is full")

    with pytest.raises(ValueError, match="the disk is full"):
        taken_behind(noted(1000, made), fail)
    assert taken_behind(noted(1000, made), next) == 0
    assert taken_behind(noted(1000, made), lambda _: "nothing") == "nothing"
    assert len(made) < 20


def test_a_taker_that_asks_again_after_the_end_gets_the_end():
    assert taken_behind(range(3), lambda items: (list(items), list(items))) == ([0, 1, 2], [])
