"""An object while it is received: written to a file piece by piece, within limits, removed unless it is kept."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO
from uuid import uuid4

from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info

from medley.runtime.processes import owner_is_dead, owner_token

_PREAMBLE = b"\0" * 128 + b"DICM"
_OLD_SECONDS = 86400  # a file without an entry is removed at this age, whoever made it
_LOOK = 2**24  # bytes between two looks at the free disk space


class TooLarge(Exception):
    """The object is larger than the limit."""


class Incoming(BytesIO):
    """Takes the data set of an object in pieces and writes it to a DICOM file with a name of our own.

    A `BytesIO`, because pynetdicom writes a data set to one; nothing is kept in memory.

    Parameters
    ----------
    folder: for the file. meta: gives the file meta information, once, when the first piece arrives.
    largest: bytes that the object may have. free_disk: bytes that must remain free in the folder.

    Attributes
    ----------
    path: the file. problem: why it is not complete, such as a full disk; "" if nothing is wrong.

    Raises
    ------
    TooLarge: of `write`.
    """

    def __init__(self, folder: Path, meta: Callable[[], FileMetaDataset], largest: int, free_disk: int) -> None:
        super().__init__()
        self.path = folder / new_name()
        self.problem = ""
        self._meta, self._largest, self._free_disk = meta, largest, free_disk
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._size = 0
        self._looked_at = -_LOOK

    @property
    def digest(self) -> str:
        """SHA-256 of the data set, in hexadecimal digits."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Append a piece. After a problem with the disk, pieces are thrown away."""
        self._size += len(data)
        if self._size > self._largest:
            self.discard()
            raise TooLarge
        if not self.problem:
            try:
                self._append(data)
            except OSError as error:
                self.discard()
                self.problem = error.strerror or "it could not be written"
        return len(data)

    def _append(self, data: bytes) -> None:
        if self._file is None:
            self._file = open(self.path, "xb", opener=_private)  # noqa: SIM115  # closed by finish or discard
            self._file.write(_PREAMBLE)
            write_file_meta_info(self._file, self._meta())  # type: ignore[arg-type]  # any binary file
        if self._size - self._looked_at >= _LOOK:
            self._looked_at = self._size
            if shutil.disk_usage(self.path.parent).free < self._free_disk:
                raise OSError(0, "the disk has too little free space")
        self._file.write(data)
        self._hash.update(data)

    def finish(self) -> None:
        """Wait until the whole object is on the disk; a failure is the `problem`."""
        if self._file is None and not self.problem:
            self.problem = "it is empty"
        if self.problem or self._file is None:
            return
        try:
            with self._file:
                self._file.flush()
                os.fsync(self._file.fileno())
            synchronise(self.path.parent)
        except OSError as error:
            self.discard()
            self.problem = error.strerror or "it could not be written"

    def discard(self) -> None:
        """Close and remove the file."""
        if self._file is not None:
            with suppress(OSError):  # a full disk; the file is removed anyway
                self._file.close()
            self.path.unlink(missing_ok=True)


def new_name() -> str:
    """A name for the file of an object; nothing of it comes from the object."""
    return f"{owner_token()}-{uuid4().hex}.dcm"


def remove_orphans(folder: Path, needed: set[str], now: float) -> int:
    """Remove files of objects that are in no queue, because their process was killed; returns how many.

    Files of processes that still run are left alone.
    """
    removed = 0
    for one in os.scandir(folder):
        token, dash, _ = one.name.rpartition("-")
        if one.name in needed or not dash or not one.is_file(follow_symlinks=False):
            continue
        if owner_is_dead(token) or now - one.stat().st_mtime > _OLD_SECONDS:
            Path(one.path).unlink(missing_ok=True)
            removed += 1
    return removed


def synchronise(folder: Path) -> None:
    """Wait until the names of the files in a folder are on the disk."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
