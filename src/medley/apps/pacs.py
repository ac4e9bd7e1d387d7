"""`medley pacs`: the node with the networks of this package, and commands for its queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from medley.apps._terminal import explain, say
from medley.apps.jobs import Job
from medley.apps.predict import predict_one
from medley.apps.restore import restore_one
from medley.errors import MedleyError
from medley.inference import loading
from medley.inference.restorer import Restorer
from medley.io.files import find_scans
from medley.node.archives import connections
from medley.node.metrics import NodeMetrics
from medley.node.node import Node, make_private
from medley.node.pull import Pulled, Wanted
from medley.node.pull import pull as pull_series
from medley.node.queue import Queue
from medley.node.receiver import Intake
from medley.node.settings import PacsSettings, Rule, read_settings
from medley.node.worker import Process


def run(path: Path, *, quiet: bool = False) -> None:
    """Run the node until it is interrupted.

    Raises
    ------
    MedleyError: the configuration cannot be used, a model does not exist, another node uses the folder.
    """
    settings = read_settings(path)
    for rule in settings.rules:
        loading.describe(loading.find(rule.model))
    node = Node(
        settings,
        process=processor(settings.device),
        explain=explain,
        archives=connections(settings),
        log=lambda line: _log(line, quiet),
    )
    # Threads of pynetdicom can end by an exception where a peer breaks the protocol.
    threading.excepthook = lambda failure: _log(f"a thread ended: {failure.exc_type.__name__}", quiet)
    node.run()


def processor(device: str = "auto") -> Process:
    """Runs the network of a rule on a folder of DICOM files, as `medley restore` and `medley predict` do.

    A network is loaded when it is first used, and kept.
    """

    @cache
    def loaded(model: str) -> Any:
        return loading.load(model, device=device)

    def process(source: Path, output: Path, rule: Rule) -> None:
        scans = find_scans(source)
        if len(scans) > 1:
            raise MedleyError(f"{source}: holds {len(scans)} scans, expected one")
        network, job = loaded(rule.model), Job(scans[0], output)
        if isinstance(network, Restorer):
            restore_one(network, job, rule.options.model_dump(exclude_unset=True))
        else:
            predict_one(network, job, form="dicom")

    return process


def pull(path: Path, archive: str, wanted: Wanted, *, quiet: bool = False) -> Pulled:
    """Request series from an archive of the configuration; see `medley.node.pull`."""
    settings = read_settings(path)
    queue = _queue(settings)
    return pull_series(
        Intake(settings, queue, NodeMetrics(queue), time.time, lambda line: _log(line, quiet)), archive, wanted
    )


def listed(path: Path) -> list[dict[str, Any]]:
    """The series in the queue, without patient data: number, state, objects, since when, reason."""
    queue = _queue(read_settings(path))
    return [
        {
            "series": entry.number,
            "state": entry.state,
            "objects": len(queue.contents(entry.number)[0]),
            "since": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.changed)),
            "reason": entry.reason,
        }
        for entry in queue.entries()
    ]


def retry(path: Path, numbers: Sequence[int]) -> dict[int, str]:
    """Put series that are aside back; all of them if no numbers are given. Returns {number: its state}."""
    queue = _queue(read_settings(path))
    chosen = numbers or [entry.number for entry in queue.entries("aside")]
    return {number: queue.retry(number, time.time()) for number in chosen}


def discard(path: Path, numbers: Sequence[int]) -> None:
    """Give series that are aside up; their files are removed after `keep_days`."""
    queue = _queue(read_settings(path))
    for number in numbers:
        queue.discard(number, time.time())


def _queue(settings: PacsSettings) -> Queue:
    make_private(settings.folder)
    return Queue(settings.folder)


def _log(line: str, quiet: bool) -> None:
    say(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}", quiet=quiet)
