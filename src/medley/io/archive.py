"""A zip unpacked to a temporary folder: within limits, verified, every member kept."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from medley.errors import MedleyError
from medley.runtime.guard import reading
from medley.runtime.limits import MEMBERS, check_unpacked
from medley.runtime.names import safe_name
from medley.runtime.temporary import TemporaryFolder


class Extracted:
    """The files of a zip, in a temporary folder that is removed when no reference to this object is left.

    Members that are hidden or added by macOS are left out. Each file has its own numbered folder, so that
    members of the same name do not replace each other. Files have the permissions of the zip.

    Attributes
    ----------
    files: the unpacked files in the order of the zip.

    Raises
    ------
    MedleyError: the zip is damaged (also where a checksum is wrong), encrypted, or exceeds the limits of
        `medley.runtime.limits` on members, size and ratio.
    """

    def __init__(self, path: Path) -> None:
        self.files: list[Path] = []
        with reading(path, "a zip archive"), zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir() and not _is_hidden(one.filename)]
            if len(members) > MEMBERS:
                raise MedleyError(
                    f"{path}: holds {len(members)} files; expected up to {MEMBERS}: unpack it first and give the folder"
                )
            if any(one.flag_bits & 1 for one in members):
                raise MedleyError(f"{path}: is encrypted; unpack it first and give the folder")
            self._folder = TemporaryFolder()
            size = path.stat().st_size
            check_unpacked(path, size, sum(one.file_size for one in members), self._folder.path.parent)
            mode = path.stat().st_mode & 0o666
            for number, member in enumerate(members, 1):
                target = self._folder.path / f"{number:05d}" / safe_name(PurePosixPath(member.filename).name)
                target.parent.mkdir()
                # Reading to the end verifies the checksum, and returns no more bytes than the header states.
                with archive.open(member) as packed, _created(target, mode) as file:
                    shutil.copyfileobj(packed, file, 2**20)
                    if file.tell() != member.file_size:
                        raise EOFError(f"{member.filename} is shorter than announced")
                self.files.append(target)


def _created(path: Path, mode: int) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode | 0o600), "wb")


def _is_hidden(name: str) -> bool:
    """Whether a part of a member's name is hidden or was added by macOS; ".." is not a name."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return any(part == "__MACOSX" or (part.startswith(".") and part.strip(".")) for part in parts)
