"""Closes complete series, and runs the network for those that are ready."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medley.errors import MedleyError
from medley.node.completion import verdict
from medley.node.database import QueueUnusable
from medley.node.header import Received, read_received
from medley.node.incoming import synchronise
from medley.node.metrics import NodeMetrics
from medley.node.network import Log
from medley.node.queue import Entry, Queue
from medley.node.receiver import OBJECTS
from medley.node.settings import PacsSettings, Rule
from medley.runtime.text import counted

RESULTS = "results"  # a folder for each series with results
_WORK = "work"  # the folder of the series that is being processed

# Reads the scan in a folder of DICOM files and writes DICOM files into another folder, which it makes.
Process = Callable[[Path, Path, Rule], None]
# The sentence for an exception.
Explain = Callable[[Exception], str]


@dataclass(frozen=True)
class Worker:
    """Does the work on the series of a queue, one after the other.

    Attributes
    ----------
    process: runs the network of a rule. explain: the sentence for an exception of it.
    clock: seconds since 1970. log: takes a line without patient data.
    """

    settings: PacsSettings
    queue: Queue
    metrics: NodeMetrics
    process: Process
    explain: Explain
    clock: Callable[[], float]
    log: Log

    @property
    def folder(self) -> Path:
        """The folder of the node."""
        return self.settings.folder

    def close_complete(self) -> None:
        """Decide for each series that is being received whether it is complete, and whether a rule selects it."""
        for entry in self.queue.entries("receiving"):
            files, _ = self.queue.contents(entry.number)
            reason = verdict(entry, len(files), self.clock(), self.settings.complete)
            if reason is None:
                continue
            state = "aside"
            if not reason:
                try:
                    state = "skipped" if self._rule(entry) is None else "ready"
                except MedleyError as error:
                    reason = str(error)
            if not self.queue.close_series(entry, state, self.clock(), reason):
                continue
            self.log(f"series {entry.number}: {state}, {counted(len(files), 'object')}")
            if state == "skipped":
                self._remove_objects(entry.number)

    def _rule(self, entry: Entry) -> Rule | None:
        """The rule that selects a series, or None."""
        files, images = self.queue.contents(entry.number)
        one = self._header(files)
        return self.settings.rule_for(one, entry.sender, images) if one else None

    def _header(self, files: list[str]) -> Received | None:
        """The header of the first object of a series that is an image; of its first object where none is."""
        headers = (read_received(self.folder / OBJECTS / file) for file in files)
        first = None
        for one in headers:
            first = first or one
            if one.images:
                return one
        return first

    def process_next(self) -> bool:
        """Process the longest waiting series; returns whether there was one.

        A series that fails for any reason is set aside. An interrupt leaves it as it was.
        """
        entry = self.queue.take(self.clock())
        if entry is None:
            return False
        begun = self.clock()
        place = self.folder / RESULTS / str(entry.number)
        try:
            rule = self._rule(entry)
            if rule is None:
                raise MedleyError("no rule of the configuration selects it any more")
            shutil.rmtree(place, ignore_errors=True)  # what was not committed before a crash
            with self._scan(entry) as scan:
                self.process(scan, place, rule)
            files = sorted(path.relative_to(place).as_posix() for path in place.rglob("*.dcm"))
            if not files:
                raise MedleyError("the network wrote no DICOM object")
            synchronise(place.parent)
            self.queue.processed(entry.number, files, list(dict.fromkeys(rule.send_to)), self.clock())
        except QueueUnusable:
            raise
        except Exception as error:
            shutil.rmtree(place, ignore_errors=True)
            self.queue.set_aside(entry.number, self.explain(error), self.clock())
            self.log(f"series {entry.number}: aside, it could not be processed; medley pacs list shows the reason")
        else:
            self.metrics.processing.observe(max(self.clock() - begun, 0))
            self.log(f"series {entry.number}: processed, {counted(len(files), 'object')} to send")
        return True

    @contextmanager
    def _scan(self, entry: Entry) -> Iterator[Path]:
        """A folder with the objects of a series and nothing else."""
        work = self.folder / _WORK
        shutil.rmtree(work, ignore_errors=True)
        scan = work / f"series-{entry.number}"
        scan.mkdir(mode=0o700, parents=True)
        files, _ = self.queue.contents(entry.number)
        for k, file in enumerate(files, 1):
            _link(self.folder / OBJECTS / file, scan / f"{k:06d}.dcm")
        try:
            yield scan
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def clean_up(self) -> None:
        """Remove finished series that are older than `keep_days`, and their files."""
        numbers, files = self.queue.forget(self.clock() - 86400 * self.settings.keep_days)
        for file in files:
            (self.folder / OBJECTS / file).unlink(missing_ok=True)
        for number in numbers:
            shutil.rmtree(self.folder / RESULTS / str(number), ignore_errors=True)

    def _remove_objects(self, number: int) -> None:
        files, _ = self.queue.contents(number)
        self.queue.release_files(number)
        for file in files:
            (self.folder / OBJECTS / file).unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    """A hard link, or a copy on a file system without links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
