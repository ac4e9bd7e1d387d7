"""Sends results to the archives: retries with a growing pause, loses nothing, and sends nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol

from medley.node.header import Received, read_received
from medley.node.metrics import NodeMetrics
from medley.node.network import Log
from medley.node.queue import Queue, Result
from medley.node.settings import PacsSettings
from medley.node.worker import RESULTS


class Unreachable(Exception):
    """The archive cannot be reached, does not answer, or has no space at present: try again later."""


class Refused(Exception):
    """The archive refused an object; the message is its status."""


class Connection(Protocol):
    """An open connection to an archive."""

    def send(self, path: Path) -> None:
        """Send an object; it has arrived when this returns.

        Raises
        ------
        Unreachable, Refused
        """

    def has(self, one: Received) -> bool:
        """Whether an object has arrived.

        Raises
        ------
        Unreachable
        """


# Opens a connection to send these files.
Connect = Callable[[Sequence[Path]], AbstractContextManager[Connection]]


@dataclass(frozen=True)
class Delivery:
    """Sends the results in a queue.

    Attributes
    ----------
    archives: how each archive is connected.
    clock: seconds since 1970. log: takes a line without patient data.
    """

    settings: PacsSettings
    queue: Queue
    metrics: NodeMetrics
    archives: Mapping[str, Connect]
    clock: Callable[[], float]
    log: Log

    def send_due(self) -> int:
        """Try to send everything that is due; returns how many objects have arrived.

        The results of a series go through one connection to each archive.
        """
        arrived = 0
        for (series, archive), group in groupby(
            self.queue.due(self.clock()), key=lambda one: (one.series, one.archive)
        ):
            for result in self._send(series, archive, list(group)):
                arrived += 1
                self.metrics.sent.labels(archive).inc()
                if self.queue.sent(result, self.clock()):
                    self.log(f"series {series}: done")
        return arrived

    def _send(self, series: int, archive: str, results: list[Result]) -> Iterator[Result]:
        """The results of a series that have arrived at an archive, each as soon as it has."""
        connect = self.archives.get(archive)
        if connect is None:
            self._postpone(results[0], f"the configuration has no archive {archive!r}")
            return
        paths = [self.settings.folder / RESULTS / str(series) / result.file for result in results]
        result = results[0]
        try:
            with connect(paths) as connection:
                for result, path in zip(results, paths, strict=True):
                    if result.uncertain and self._has(connection, archive, path):
                        yield result
                        continue
                    self.queue.begin_sending(result)
                    connection.send(path)
                    yield result
        except Unreachable as error:
            self._postpone(result, str(error))
        except Refused as error:
            self._refused(result, str(error))

    def _has(self, connection: Connection, archive: str, path: Path) -> bool:
        return self.settings.archives[archive].look_up and connection.has(read_received(path))

    def _postpone(self, result: Result, reason: str, refused: Result | None = None) -> None:
        pause = self.settings.retry.pause(result.attempts + 1)
        self.queue.postpone(result.series, result.archive, self.clock() + pause, refused=refused)
        self.metrics.failed.labels(result.archive).inc()
        self.log(f"series {result.series}: not sent to {result.archive}: {reason}; tried again in {pause:g} seconds")

    def _refused(self, result: Result, reason: str) -> None:
        if result.refusals + 1 < self.settings.retry.refusals:
            self._postpone(result, reason, refused=result)
            return
        self.metrics.failed.labels(result.archive).inc()
        self.queue.set_aside(result.series, f"{result.archive} refused an object: {reason}", self.clock())
        self.log(f"series {result.series}: aside, {result.archive} refused an object: {reason}")
