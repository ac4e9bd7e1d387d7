"""A program that runs a node and kills itself with SIGKILL at a chosen moment: python kill.py CONFIG METHOD MOMENT.

MOMENT is "before" or "after" METHOD of the queue, "process" inside the network, or "never". The archive is a folder: an
object that was sent is a file with its UID and a number, so that one that is sent twice shows.
"""

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

from pydicom import dcmread
from tests.node.made_node import copy_files

from medley.node.node import Node
from medley.node.queue import Queue
from medley.node.settings import PacsSettings

METHODS = ("close_series", "take", "processed", "begin_sending", "sent", "release_files")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class FolderArchive:
    """Objects that were sent, as files UID.1, UID.2 ... in a folder."""

    def __init__(self, folder: Path, moment: str) -> None:
        self.folder, self.moment = folder, moment
        folder.mkdir(exist_ok=True)

    @contextmanager
    def connect(self, paths):
        yield self

    def send(self, path: Path) -> None:
        uid = str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)
        (self.folder / f"{uid}.{1 + len(list(self.folder.glob(f'{uid}.*')))}").touch()
        if self.moment == "arrived":
            die()

    def has(self, one) -> bool:
        return (self.folder / f"{one.instance}.1").exists()


def main(config: str, method: str, moment: str) -> None:
    settings = PacsSettings.model_validate_json(Path(config).read_text())
    if method in METHODS:
        original = getattr(Queue, method)

        def dying(self, *arguments, **options):
            if moment == "before":
                die()
            original(self, *arguments, **options)
            die()

        setattr(Queue, method, dying)

    def process(source, output, rule):
        copy_files(source, output, rule)
        if moment == "processing":
            die()

    archive = FolderArchive(settings.folder / "archive", moment)
    node = Node(
        settings, process=process, explain=str, archives={"pacs": archive.connect}, log=lambda line: None,
        clock=lambda: 1e12,
    )  # fmt: skip
    node.recover()
    for _ in range(2):
        node.worker.close_complete()
        while node.worker.process_next():
            pass
        node.delivery.send_due()


if __name__ == "__main__":
    main(*sys.argv[1:])
