"""What a user sees while a command runs: messages and progress, on stderr."""

from __future__ import annotations

import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from medley.errors import MedleyError, MedleyNotice
from medley.runtime.atomic import one_line
from medley.runtime.text import printable
from medley.volume import Slices, Volume

PATIENCE = 2.0  # seconds before a progress bar appears
INTERVAL = 10.0  # seconds between progress lines where stderr is not a terminal
DEBUG = "MEDLEY_DEBUG"  # environment variable; `medley --debug` sets it


class Update(Protocol):
    """Called by the work to report its progress."""

    def __call__(self, done: int, total: int, text: str = ...) -> None:
        """`done` of `total` steps are finished; `text` names the current one."""


console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str, *, quiet: bool = False) -> None:
    """Print a message of one line. Names of files are shown with their control characters written out."""
    if not quiet:
        console.print(printable(message), markup=False)


def show_notices() -> None:
    """Print notices of medley as lines, and no warnings of libraries, which are for programmers."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", MedleyNotice)
        warnings.showwarning = lambda message, *_: say(f"note: {message}")


def complain(message: str) -> None:
    """Print an error message: one red line."""
    console.print(f"error: {printable(message)}", style="red", markup=False)


def explain(error: Exception) -> str:
    """The sentence for an exception. With --debug the traceback of an unexpected one is printed too."""
    if isinstance(error, MedleyError):
        return str(error)
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "the memory is not sufficient; close other programs, or use a computer with more memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if debugging():
        console.print("".join(traceback.format_exception(error)), markup=False, style="dim")
    hint = "" if debugging() else "; medley --debug shows where"
    return f"unexpected error: {type(error).__name__}: {one_line(error)}. Please report it{hint}"


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get(DEBUG, "") not in ("", "0")


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Update]:
    """A progress bar that appears after two seconds and disappears at the end.

    Where stderr is not a terminal (a log file, a batch system), a line every ten seconds.
    """
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)
    task = bar.add_task(printable(title))
    begun = printed = time.monotonic()

    def update(done: int, total: int, text: str = title) -> None:
        nonlocal printed
        now = time.monotonic()
        if not console.is_terminal and now - printed >= INTERVAL:
            printed = now
            say(f"{text}: {done:,} of {total:,}", quiet=quiet)
        if not bar.live.is_started and now - begun > PATIENCE:
            bar.start()
        bar.update(task, completed=done, total=total, description=printable(text))

    try:
        yield update
    finally:
        bar.stop()


def no_update(done: int, total: int, text: str = "") -> None:
    """An `Update` that shows nothing."""


def watched(volume: Volume, update: Update) -> Volume:
    """The same scan; `update` is called after each slice is used, with the number of slices so far and in total."""

    def make() -> Iterator[np.ndarray]:
        for k, one in enumerate(volume.data):
            yield one
            update(k + 1, volume.shape[0])

    return volume.with_data(Slices(volume.shape, make))
