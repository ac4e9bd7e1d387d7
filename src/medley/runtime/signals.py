"""A termination signal is an interrupt: it raises an exception, so that cleanup code runs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGHUP: the terminal was closed. Windows has none.
_TERMINATION = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived. A `KeyboardInterrupt`, so that cleanup code for Ctrl-C runs here too.

    Attributes
    ----------
    number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def raise_on_termination() -> None:
    """From now on SIGTERM and SIGHUP raise `Terminated` in the main thread; the second of them is ignored.

    Does nothing off the main thread, where Python allows no signal handlers. An ignored signal (nohup) remains ignored.
    Forked child processes end at once, as they would without a handler.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for one in _TERMINATION:
            signal.signal(one, signal.SIG_IGN)  # the sender may send it again during the cleanup
        raise Terminated(number)

    for number in _TERMINATION:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)


def exit_code(interrupt: BaseException) -> int:
    """The exit code of a program that ended by an interrupt: 128 + the number of the signal, 130 for Ctrl-C."""
    return 128 + (interrupt.number if isinstance(interrupt, Terminated) else int(signal.SIGINT))


class StopRequest:
    """Whether Ctrl-C or a termination signal arrived inside `deferred_interrupts`."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __bool__(self) -> bool:
        return self.number is not None

    def interrupt(self) -> KeyboardInterrupt:
        """The exception to raise when the work can be stopped safely."""
        if self.number in (None, signal.SIGINT):
            return KeyboardInterrupt()
        return Terminated(self.number)


@contextmanager
def deferred_interrupts() -> Iterator[StopRequest]:
    """Inside, the first Ctrl-C or termination signal only sets the `StopRequest`; the second one is raised at once.

    Off the main thread, where Python allows no signal handlers, nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, frame: FrameType | None) -> None:
        again = bool(request)
        request.number = number
        if again:
            raise request.interrupt()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_TERMINATION)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
