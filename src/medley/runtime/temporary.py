"""Temporary folders that disappear with their process; those of processes that were killed are removed later."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
from pathlib import Path
from uuid import uuid4

from medley.errors import MedleyError
from medley.runtime.processes import TOKEN, owner_is_dead, owner_token


class TemporaryFolder:
    """A new folder that only this user can read, in the system's folder for temporary files (TMPDIR).

    It is removed by `remove`, at the end of a `with` block, when the object is garbage, or when the program ends.

    Attributes
    ----------
    path: the folder.

    Raises
    ------
    MedleyError: it cannot be made.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.gettempdir()) / f"medley-{owner_token()}-{uuid4().hex[:8]}"
        try:
            self.path.mkdir(mode=0o700)
        except OSError as error:
            raise MedleyError(f"{self.path}: a temporary folder cannot be made: {error.strerror}") from error
        self.remove = weakref.finalize(self, _remove, self.path, os.getpid())

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.remove()


def remove_abandoned() -> list[Path]:
    """Remove the temporary folders of this user's processes that were killed, and return their paths."""
    removed = []
    try:
        found = [one for one in os.scandir(tempfile.gettempdir()) if one.name.startswith("medley-")]
    except OSError:
        return []
    for one in found:
        match = re.fullmatch(rf"medley-({TOKEN})-[0-9a-f]{{8}}", one.name)
        if match and owner_is_dead(match[1]) and one.is_dir(follow_symlinks=False) and _is_ours(one):
            shutil.rmtree(one.path, ignore_errors=True)
            removed.append(Path(one.path))
    return removed


def _is_ours(entry: os.DirEntry[str]) -> bool:
    return not hasattr(os, "getuid") or entry.stat(follow_symlinks=False).st_uid == os.getuid()


def _remove(path: Path, pid: int) -> None:
    if os.getpid() == pid:  # not in a copy of the process that fork made
        shutil.rmtree(path, ignore_errors=True)
