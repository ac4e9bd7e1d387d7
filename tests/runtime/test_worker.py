"""The child process for native code: results, exceptions, crashes, threads, and the end of its parent."""

import importlib
import itertools
import math
import operator
import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.runtime import worker
from medley.runtime.names import check_name
from medley.runtime.worker import WorkerError, call, stream


@pytest.fixture(autouse=True)
def _no_children_left():
    yield
    worker.stop_all()


def test_results_come_back_and_the_child_stays_alive():
    assert call(math.hypot, 3, 4, path="a") == 5
    first = call(os.getpid, path="a")
    assert first == call(os.getpid, path="a") != os.getpid()


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
def test_arrays_are_transferred_whole_and_can_be_changed(dtype):
    array = np.arange(300_000).reshape(3, -1).astype(dtype)
    result = call(operator.add, array, array, path="a")
    np.testing.assert_array_equal(result, array + array)
    result[0, 0] = 7


def test_exceptions_come_back_with_their_type_and_message():
    with pytest.raises(WorkerError, match="ZeroDivisionError: "):
        call(operator.floordiv, 1, 0, path="a")
    with pytest.raises(MedleyError, match="a store"):
        call(check_name, "..", "a store", path="a")
    assert call(abs, -1, path="a") == 1


@pytest.mark.parametrize("end", [(os.abort,), (os._exit, 3), (os.kill, 0, 11)])
def test_a_crash_is_one_sentence_with_the_file_and_the_next_call_works(end):
    if end[0] is os.kill:
        end = (os.kill, call(os.getpid, path="a"), 11)
    with pytest.raises(MedleyError, match=r"^bad\.dcm: the decoder crashed on it \((SIGABRT|SIGSEGV|exit code 3)\)"):
        call(*end, path="bad.dcm")
    assert call(abs, -1, path="good.dcm") == 1


def test_what_the_child_prints_does_not_disturb_the_answers(capfd):
    assert call(print, "printed by a library", path="a") is None
    assert call(os.write, 1, b"printed by native code", path="a") == 22
    assert capfd.readouterr() == ("", "")


def test_a_stream_yields_items_and_ends_like_its_generator():
    assert list(stream(range, 5, path="a")) == [0, 1, 2, 3, 4]
    with pytest.raises(WorkerError, match="ValueError"):
        list(stream(map, int, ["1", "x"], path="a"))


def test_two_streams_at_once_and_one_left_early_do_not_mix():
    one, other = stream(itertools.count, 0, path="a"), stream(itertools.count, 100, path="b")
    assert [next(one), next(other), next(one), next(other)] == [0, 100, 1, 101]
    one.close()
    assert call(abs, -3, path="c") == 3
    assert next(other) == 102
    other.close()
    assert len(worker._idle) == 2


def test_a_crash_in_a_stream_is_one_sentence():
    with pytest.raises(MedleyError, match="bad: the decoder crashed"):
        list(stream(map, os._exit, [4], path="bad"))


def test_a_crash_in_a_stream_names_the_path_of_its_item():
    items = stream(map, operator.methodcaller("__call__"), [time.time, time.time, os.abort], path=["a", "b", "c"])
    assert next(items) <= next(items)
    with pytest.raises(MedleyError, match=r"^c: the decoder crashed"):
        next(items)


def test_many_threads_at_once():
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda n: call(abs, -n, path="a"), range(40)))
    assert results == list(range(40))
    assert len(worker._idle) <= 4


def test_an_allocation_beyond_the_memory_fails_in_the_child_only():
    with pytest.raises(MemoryError):
        call(bytes, 1 << 45, path="a")
    assert call(abs, -1, path="a") == 1


PROGRAM = """
    import os, signal
    from medley.runtime.worker import call
    print(call(os.getpid, path="a"), flush=True)
    {end}
"""


@pytest.mark.parametrize("end", ["", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_script_without_a_main_guard_may_call_and_the_child_ends_with_it(tmp_path, end):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(PROGRAM).format(end=end))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    (child,) = done.stdout.split()
    for _ in range(10_000_000):
        stat = Path(f"/proc/{child}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
    pytest.fail("the child outlived its parent")


def test_one_child_is_prepared_and_then_used():
    worker.prepare("medley.runtime.limits")
    (child,) = worker._idle
    worker.prepare("medley.runtime.limits")
    assert worker._idle == [child]
    assert call(abs, -1, path="a") == 1
    assert child.unread == 0


def test_an_import_that_fails_while_preparing_does_not_disturb_later_calls():
    worker.prepare("medley.there_is_no_such_module")
    assert call(abs, -1, path="a") == 1


def test_a_crash_after_a_stream_was_left_is_not_blamed_on_the_next_file():
    other = stream(map, abs, [1, 2], path="good")
    assert next(other) == 1
    child = worker._take()
    child.send("call", os._exit, (4,), path="bad")
    child.unread = 1
    worker._give_back(child)
    assert call(abs, -1, path="good") == 1
    other.close()


def test_a_result_that_cannot_be_transferred_is_an_error_of_that_call_only():
    with pytest.raises(WorkerError, match="TypeError: cannot pickle"):
        call(importlib.import_module, "json", path="a")
    assert call(abs, -1, path="a") == 1
