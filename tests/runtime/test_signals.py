import os
import signal
import subprocess
import sys
import threading

import pytest

from medley.runtime.signals import Terminated, deferred_interrupts, exit_code, raise_on_termination

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX systems")
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _handlers():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_termination_signal_is_an_interrupt(number):
    raise_on_termination()
    with pytest.raises(KeyboardInterrupt) as stopped:
        signal.raise_signal(number)
    assert isinstance(stopped.value, Terminated)
    assert exit_code(stopped.value) == 128 + number
    signal.raise_signal(number)  # while tidying up: ignored


def test_ctrl_c_has_its_usual_exit_code():
    assert exit_code(KeyboardInterrupt()) == 130


def test_a_signal_that_is_ignored_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise_on_termination()
    signal.raise_signal(signal.SIGHUP)


def test_a_forked_child_ends_without_the_exception():
    code = """if True:
        import os, signal, sys
        from medley.runtime.signals import raise_on_termination
        raise_on_termination()
        child = os.fork()
        if not child:
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                print("tidied up twice", flush=True)
        _, status = os.waitpid(child, 0)
        sys.exit(0 if os.WTERMSIG(status) == signal.SIGTERM else 1)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_requests_a_stop_and_the_second_stops(number):
    before = [signal.getsignal(one) for one in SIGNALS]
    with deferred_interrupts() as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop
        assert exit_code(stop.interrupt()) == 128 + number
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_off_the_main_thread_nothing_is_installed_and_nothing_fails():
    before = [signal.getsignal(number) for number in SIGNALS]
    found = []

    def work():
        raise_on_termination()
        with deferred_interrupts() as stop:
            found.append(bool(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
    assert [signal.getsignal(number) for number in SIGNALS] == before
