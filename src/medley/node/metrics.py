"""Metrics for Prometheus: numbers only, no patient data."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Summary, start_http_server
from prometheus_client.core import GaugeMetricFamily

from medley.errors import MedleyError
from medley.node.queue import Queue
from medley.node.settings import Metrics


class NodeMetrics:
    """Counters of the node since its start, and the state of its queue at the time of a request.

    Attributes
    ----------
    received, duplicates, refused: objects. sent: objects that have arrived at an archive. failed: attempts to send.
    processing: seconds of the network for a series.
    """

    def __init__(self, queue: Queue) -> None:
        self.registry = CollectorRegistry()
        self.received = self._counter("received_objects", "Objects that were received and stored")
        self.duplicates = self._counter("duplicate_objects", "Objects that were in the queue already")
        self.refused = self._counter("refused_objects", "Objects that were refused")
        self.sent = self._counter("sent_objects", "Objects that have arrived at an archive", ["archive"])
        self.failed = self._counter("failed_attempts", "Attempts to send that failed", ["archive"])
        self.processing = Summary(
            "medley_pacs_processing_seconds", "Seconds of processing of a series", registry=self.registry
        )
        self.registry.register(_State(queue))

    def serve(self, settings: Metrics) -> Any:
        """Answer requests in a thread; returns the server, whose `shutdown` ends it.

        Raises
        ------
        MedleyError: the address cannot be used.
        """
        try:
            server, _ = start_http_server(settings.port, settings.address, self.registry)
        except OSError as error:
            raise MedleyError(
                f"metrics: {settings.address}:{settings.port} cannot be used: {error.strerror}; choose another port"
            ) from error
        return server

    def _counter(self, name: str, text: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"medley_pacs_{name}", text, labels or [], registry=self.registry)


class _State:
    """The state of the queue, read from it at each request."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def collect(self) -> Iterator[GaugeMetricFamily]:
        states, waiting = self._queue.counts()
        series = GaugeMetricFamily("medley_pacs_series", "Series in each state", labels=["state"])
        for state, count in states.items():
            series.add_metric([state], count)
        yield series
        results = GaugeMetricFamily("medley_pacs_waiting_results", "Objects that are not yet sent", labels=["archive"])
        for archive, count in waiting.items():
            results.add_metric([archive], count)
        yield results
        free = shutil.disk_usage(Path(self._queue.path).parent).free
        yield GaugeMetricFamily("medley_pacs_free_disk_bytes", "Free space of the disk of the queue", value=free)
