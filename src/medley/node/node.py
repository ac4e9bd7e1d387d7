"""The node: receiver, worker and delivery on one queue, until it is interrupted."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from medley.errors import MedleyError
from medley.node.database import QueueUnusable
from medley.node.delivery import Connect, Delivery
from medley.node.incoming import remove_orphans
from medley.node.metrics import NodeMetrics
from medley.node.network import Log
from medley.node.queue import Queue
from medley.node.receiver import Intake, Receiver
from medley.node.settings import PacsSettings
from medley.node.worker import RESULTS, Explain, Process, Worker
from medley.runtime.locks import locked

_PAUSE = 0.5  # seconds between two looks at the queue
_TROUBLE = 20.0  # seconds to wait while the queue cannot be written
_CLEANING = 600.0  # seconds between two removals of old series


class Node:
    """All parts of the node on the queue of a configuration.

    Parameters
    ----------
    process, explain: see `medley.node.worker`. archives: see `medley.node.delivery`.
    clock: seconds since 1970. log: takes a line without patient data.

    Attributes
    ----------
    queue, metrics, intake, worker, delivery: the parts.
    """

    def __init__(
        self,
        settings: PacsSettings,
        *,
        process: Process,
        explain: Explain,
        archives: Mapping[str, Connect],
        log: Log,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings, self.log, self.clock = settings, log, clock
        make_private(settings.folder)
        self.queue = Queue(settings.folder)
        self.metrics = NodeMetrics(self.queue)
        self.intake = Intake(settings, self.queue, self.metrics, clock, log)
        self.worker = Worker(settings, self.queue, self.metrics, process, explain, clock, log)
        self.delivery = Delivery(settings, self.queue, self.metrics, archives, clock, log)

    def recover(self) -> None:
        """Put the queue and its files in order after a crash."""
        removed = remove_orphans(self.intake.folder, self.queue.files(), self.clock())
        if removed:
            self.log(f"removed {removed} objects that were not received to their end")
        results = self.settings.folder / RESULTS
        results.mkdir(mode=0o700, exist_ok=True)
        known = {str(entry.number) for entry in self.queue.entries("sending", "done", "aside")}
        for place in results.iterdir():
            if place.name not in known:
                shutil.rmtree(place, ignore_errors=True)

    def run(self, stop: Event | None = None) -> None:
        """Work until `stop` is set, or an interrupt is raised.

        Raises
        ------
        MedleyError: another node uses the folder; an address cannot be used; the queue cannot be written.
        """
        stop = stop or Event()
        failures: list[Exception] = []

        def deliver() -> None:
            try:
                while not stop.wait(_PAUSE):
                    with self._surviving(stop):
                        self.delivery.send_due()
            except Exception as error:
                failures.append(error)
                stop.set()

        with locked(self.settings.folder, "the node"), self._metrics_served():
            self.recover()
            with Receiver(self.intake):
                self.log(f"{self.settings.ae_title} listens at {self.settings.address}:{self.settings.port}")
                sender = Thread(target=deliver, name="medley-delivery")
                sender.start()
                try:
                    self._work(stop)
                finally:
                    stop.set()
                    sender.join()
        if failures:
            raise failures[0]

    def _work(self, stop: Event) -> None:
        cleaned = float("-inf")
        while not stop.is_set():
            with self._surviving(stop):
                if self.clock() - cleaned >= _CLEANING:
                    cleaned = self.clock()
                    self.worker.clean_up()
                self.worker.close_complete()
                if not self.worker.process_next():
                    stop.wait(_PAUSE)

    @contextmanager
    def _surviving(self, stop: Event) -> Iterator[None]:
        """Wait where the queue cannot be written, as on a full disk; nothing is lost meanwhile."""
        try:
            yield
        except QueueUnusable as error:
            self.log(str(error))
            stop.wait(_TROUBLE)

    @contextmanager
    def _metrics_served(self) -> Iterator[None]:
        if self.settings.metrics is None:
            yield
            return
        server = self.metrics.serve(self.settings.metrics)
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()


def make_private(folder: Path) -> None:
    """Make the folder of a node, which only this user may read.

    Raises
    ------
    MedleyError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise MedleyError(f"{folder}: cannot be used for the queue: {error.strerror}; choose another folder") from error
