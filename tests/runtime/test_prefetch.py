import threading

import pytest

from medley.runtime.prefetch import made_ahead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("medley")]


def noted(count, made):
    """0, 1, 2 ...; `made` lists those that were computed."""
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


def test_items_are_made_in_another_thread():
    def where():
        for _ in range(3):
            yield threading.current_thread().name

    assert all(name.startswith("medley-ahead") for name in made_ahead(where()))


def test_nothing_is_made_before_the_first_next_and_few_items_ahead():
    made = []
    stream = made_ahead(noted(50, made), 3)
    assert made == []
    for k in stream:
        assert len(made) <= k + 1 + 3
    assert len(made) == 50


def test_an_error_is_raised_after_the_items_before_it():
    def broken():
        yield 1
        yield 2
        raise OSError("the third")

    seen = []
    with pytest.raises(OSError, match="the third"):
        seen.extend(made_ahead(broken(), 5))  # appends as they come
    assert seen == [1, 2]


def test_ctrl_c_passes_through():
    def stopped():
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(made_ahead(stopped()))


@pytest.mark.parametrize("end", ["close", "delete"])
def test_closing_or_deleting_the_iterator_stops_the_thread_and_closes_the_source(end):
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
