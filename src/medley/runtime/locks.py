"""A lock that allows one process at a time in a folder, and that ends with its process, also if it is killed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medley.errors import MedleyError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".medley-lock"  # the name of the lock file; a folder that holds nothing else counts as empty


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of a folder, which is made if it does not exist; a folder that stays empty is removed again.

    The lock belongs to the open file (flock), so that the system releases it also when the process is killed. Where a
    file system has no locks, there is no protection and no error.

    Parameters
    ----------
    what: the work in the folder, for the message, such as "training".

    Raises
    ------
    MedleyError: another process (or another thread of this one) holds the lock; the folder cannot be written.
    """
    new = [one for one in (folder, *folder.absolute().parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _acquire(folder / LOCK, folder, what)
    except OSError as error:
        raise MedleyError(f"{folder}: {what} is not possible there: {error.strerror}") from error
    try:
        yield
    finally:
        with suppress(OSError):
            (folder / LOCK).unlink()  # while the lock is held: see _acquire
        os.close(handle)
        for one in new:
            with suppress(OSError):
                one.rmdir()


def is_empty(folder: Path) -> bool:
    """Whether a folder has no files but a lock."""
    return all(one.name == LOCK for one in folder.iterdir())


def _acquire(path: Path, folder: Path, what: str) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(handle, 100).decode(errors="replace").strip()
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(handle)
                raise MedleyError(
                    f"{folder}: is in use by another medley ({owner or 'process unknown'}); wait until it has finished "
                    f"or choose another folder for {what}"
                ) from error
        # The holder before us may have removed the file between our open and our lock: then it protects nothing.
        try:
            same = os.path.samestat(os.fstat(handle), os.stat(path))
        except FileNotFoundError:
            same = False
        if same:
            os.ftruncate(handle, 0)
            os.write(handle, f"process {os.getpid()}, {what}\n".encode())
            return handle
        os.close(handle)
