"""A child process for native code that may crash: the parent survives, reports the file, and starts another child.

Decoders of images are written in C and C++, and a damaged file can end their process. Work is therefore done by a child
that stays alive between calls. The child is started as a separate program, not by fork or `multiprocessing`: it
neither runs the main module of the parent again (notebooks, scripts) nor inherits its threads.
"""

from __future__ import annotations

import atexit
import importlib
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, Any

from medley.errors import MedleyError
from medley.runtime.atomic import one_line
from medley.runtime.memory import free_memory

_START = "import sys; sys.path[:] = {path!r}; from medley.runtime.worker import _serve; _serve()"
_idle: list[_Child] = []  # children that wait for work; busy ones are not in the list
_lock = threading.Lock()


class WorkerError(Exception):
    """An exception that was raised in the child process: its type and message."""


def call(function: Callable[..., Any], *arguments: Any, path: object) -> Any:
    """Return `function(*arguments)`, computed in a child process.

    Parameters
    ----------
    function: a function at the top level of an importable module.
    arguments: anything that can be pickled; so must be the result. Arrays are transferred without a copy in pickle.
    path: the file that is read, for the message.

    Raises
    ------
    MedleyError: the child crashed, or could not be started; or `function` raised one.
    WorkerError: `function` raised another exception.
    """
    child = _take()
    try:
        result = child.ask("call", function, arguments, path=path)
    except (MedleyError, WorkerError, MemoryError):
        _give_back(child)
        raise
    except BaseException:
        child.stop()  # an interrupt leaves a reply in the pipe
        raise
    _give_back(child)
    return result


def stream(function: Callable[..., Iterator[Any]], *arguments: Any, path: object) -> Iterator[Any]:
    """Yield the items of the generator `function(*arguments)`, which runs in a child process; otherwise as `call`.

    The child is one item ahead of the caller. `path` may be a list with the path of each item.
    """
    paths = path if isinstance(path, list) else [path]
    count = 0
    child = _take()
    reusable = False
    try:
        child.send("open", function, arguments, path=paths[0])
        child.send("next", path=paths[0])
        more, item = child.receive(paths[0])
        while more:
            count = min(count + 1, len(paths) - 1)
            child.send("next", path=paths[count])  # the child computes it while the caller uses this one
            yield item
            more, item = child.receive(paths[count])
        reusable = True
    except (MedleyError, WorkerError, MemoryError):
        reusable = True
        raise
    except GeneratorExit:
        child.send("close", path=paths[count])
        child.unread = 2
        reusable = True
        raise
    finally:
        if reusable:
            _give_back(child)
        else:
            child.stop()


def prepare(module: str) -> None:
    """Start a child that imports a module, without waiting for it, so that the first call does not wait either."""
    with _lock:
        if any(child.usable() for child in _idle):
            return
    child = _Child()
    child.send("call", _import, (module,), path=module)
    child.unread = 1
    _give_back(child)


def stop_all() -> None:
    """End the idle child processes; the next call starts a new one."""
    with _lock:
        children, _idle[:] = list(_idle), []
    for child in children:
        child.stop()


def _take() -> _Child:
    with _lock:
        while _idle:
            child = _idle.pop()
            if child.usable() and child.discard_unread():
                return child
    return _Child()


def _give_back(child: _Child) -> None:
    if child.usable():
        with _lock:
            _idle.append(child)


class _Child:
    """The parent's end of one child process: pickled requests through its stdin, pickled replies through its stdout.

    Attributes
    ----------
    unread: replies to requests whose caller was interrupted; they are discarded before the next request.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        self.unread = 0
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START.format(path=sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # native libraries print warnings there
                pipesize=2**20,  # a slice in one piece, where the system allows it
            )
        except OSError as error:
            raise MedleyError(f"the process for decoding cannot be started ({one_line(error)})") from error

    def usable(self) -> bool:
        """Whether it is alive, and belongs to this process and not to the one that this was forked from."""
        return self._owner == os.getpid() and self._process.poll() is None

    def discard_unread(self) -> bool:
        """Read and discard unread replies; False if the child has crashed meanwhile."""
        while self.unread:
            self.unread -= 1
            with suppress(WorkerError, MemoryError):
                try:
                    self.receive("")
                except MedleyError:
                    return self.usable()
        return True

    def ask(self, *request: Any, path: object) -> Any:
        """Send a request and return the reply."""
        self.send(*request, path=path)
        return self.receive(path)

    def send(self, *request: Any, path: object) -> None:
        assert self._process.stdin
        try:
            _write(self._process.stdin, _packed(request))
        except (OSError, ValueError):
            raise self._crash(path) from None

    def receive(self, path: object) -> Any:
        assert self._process.stdout
        try:
            ok, result = _receive(self._process.stdout)
        except (OSError, EOFError, ValueError, struct.error):
            raise self._crash(path) from None
        if ok:
            return result
        kind, message = result
        if kind == "MedleyError":
            raise MedleyError(message)
        if kind == "MemoryError":
            raise MemoryError(message)
        raise WorkerError(f"{kind}: {message}" if message != kind else kind)

    def _crash(self, path: object) -> MedleyError:
        return MedleyError(f"{path}: the decoder crashed on it ({self._ending()}); the file is damaged")

    def stop(self) -> None:
        if self._owner != os.getpid():
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()

    def _ending(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        code = self._process.poll()
        self.stop()
        if code is None or code >= 0:
            return f"exit code {code}"
        with suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"


def _packed(message: Any) -> list[Any]:
    """The parts of a message: the pickle, and the memory of its arrays."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    return [pickled, *(buffer.raw() for buffer in buffers)]


def _write(pipe: IO[bytes], parts: list[Any]) -> None:
    """Write the number of parts, their lengths, and the parts."""
    pipe.write(struct.pack(f"<Q{len(parts)}Q", len(parts), *(len(part) for part in parts)))
    for part in parts:
        pipe.write(part)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    (count,) = struct.unpack("<Q", _exactly(pipe, 8))
    lengths = struct.unpack(f"<{count}Q", _exactly(pipe, 8 * count))
    first, *buffers = [_exactly(pipe, length) for length in lengths]
    return pickle.loads(first, buffers=buffers)


def _exactly(pipe: IO[bytes], length: int) -> bytearray:
    data = bytearray(length)
    view, filled = memoryview(data), 0
    while filled < length:
        got = pipe.readinto(view[filled:])  # type: ignore[attr-defined]
        if not got:
            raise EOFError("the other process has ended")
        filled += got
    return data


def _serve() -> None:
    """The child's loop: process requests until the parent closes the pipe or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not mix with the replies
    items: Iterator[Any] = iter(())
    while True:
        try:
            action, *details = _receive(requests)
        except EOFError:
            return
        try:
            result: Any = None
            if action == "call":
                _limit_memory()
                result = details[0](*details[1])
            elif action == "open":
                _limit_memory()
                items = _lazily(*details)
                continue  # errors are sent as the reply to the first "next"
            elif action == "next":
                result = _next(items)
            elif action == "close":
                items = iter(())
            message = _packed((True, result))
        except Exception as error:
            items = iter(())
            message = _packed((False, (type(error).__name__, one_line(error))))
        _write(answers, message)


def _lazily(function: Callable[..., Iterator[Any]], arguments: tuple[Any, ...]) -> Iterator[Any]:
    yield from function(*arguments)


def _import(module: str) -> None:
    importlib.import_module(module)


def _next(items: Iterator[Any]) -> tuple[bool, Any]:
    for item in items:
        return True, item
    return False, None


def _limit_memory() -> None:
    """Make an allocation larger than the free memory fail, before the system kills processes for lack of memory."""
    free = free_memory()
    if not sys.platform.startswith("linux") or free is None:
        return
    resource = importlib.import_module("resource")
    with suppress(OSError, ValueError):
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + free, hard))


def _end_with_parent(parent: int) -> None:
    """End also in the middle of a long decoding, when the parent was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


atexit.register(stop_all)
