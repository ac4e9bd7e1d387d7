"""What a person sees while a command runs: lines and a progress bar, on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from medley.volume import Slices, Volume

PATIENCE = 2.0  # seconds without a progress bar


class Update(Protocol):
    """How work tells how far it is."""

    def __call__(self, done: int, total: int, text: str = ...) -> None:
        """So many of so many are done; `text` says what is at hand."""


console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str, *, quiet: bool = False) -> None:
    """One line for a person."""
    if not quiet:
        console.print(message, markup=False)


def complain(message: str) -> None:
    """One red line: what went wrong, as plain text."""
    console.print(f"error: {message}", style="red", markup=False)


def counted(number: int, thing: str) -> str:
    """ "1 slice", "2 slices"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Update]:
    """A bar that shows when the work takes longer than two seconds, and leaves no trace."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)
    task = bar.add_task(title)
    begun = time.monotonic()

    def update(done: int, total: int, text: str = title) -> None:
        if not bar.live.is_started and time.monotonic() - begun > PATIENCE:
            bar.start()
        bar.update(task, completed=done, total=total, description=text)

    try:
        yield update
    finally:
        bar.stop()


def watched(volume: Volume, update: Update) -> Volume:
    """The same scan; `update` is called with (slices passed, slices in all) whenever one passes."""

    def make() -> Iterator[np.ndarray]:
        for k, one in enumerate(volume.data):
            yield one
            update(k + 1, volume.shape[0])

    return volume.with_data(Slices(volume.shape, make))
