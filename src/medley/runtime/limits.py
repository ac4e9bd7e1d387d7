"""Limits on what is unpacked or allocated for a file: relative to its size, the memory, and the disk.

A compressed file of some kilobytes can claim gigabytes ("decompression bomb"). The defaults accept every real
scan. The environment variable MEDLEY_MAX_UNPACKED, such as "20GB", replaces the limit on the ratio for an exceptional
file; the limits by memory and disk remain.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from medley.errors import MedleyError
from medley.runtime.memory import free_memory

VARIABLE = "MEDLEY_MAX_UNPACKED"
SMALL = 256 * 2**20  # bytes that may be unpacked from any file
RATIO = 200  # unpacked bytes for each packed byte of larger files; scans have 2 to 10, label maps up to 100
MEMBERS = 50_000  # files in an archive
SHARE = 0.9  # of the free memory or disk that may be used
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def check_unpacked(path: object, packed: int, unpacked: int, folder: Path | None = None) -> None:
    """Refuse to unpack `packed` bytes of a file to `unpacked` bytes, in memory or below a `folder` on the disk.

    Raises
    ------
    MedleyError
    """
    allowed = _by_user()
    if allowed is None and unpacked > max(SMALL, RATIO * packed):
        raise MedleyError(
            f"{path}: would unpack from {in_words(packed)} to {in_words(unpacked)}, which no scan does; if it is meant "
            f"to, allow that size by the environment variable {VARIABLE}, such as {VARIABLE}=20GB"
        )
    if allowed is not None and unpacked > allowed:
        raise MedleyError(f"{path}: would unpack to {in_words(unpacked)}, but {VARIABLE} allows {in_words(allowed)}")
    if folder is None:
        check_memory(path, unpacked)
    elif unpacked > SHARE * (free := shutil.disk_usage(folder).free):
        raise MedleyError(
            f"{path}: would unpack to {in_words(unpacked)}, but {folder} has {in_words(free)} free; free some space or "
            "set TMPDIR to a folder on a larger disk"
        )


def check_memory(path: object, needed: int, what: str = "it") -> None:
    """Refuse what needs more memory than is free. `what`: the part of the file that needs it, such as "one slice".

    Raises
    ------
    MedleyError
    """
    free = free_memory()
    if free is not None and needed > max(SHARE * free, 2**20):
        raise MedleyError(f"{path}: {what} needs {in_words(needed)} of memory, but {in_words(free)} are free")


def in_words(size: int) -> str:
    """A number of bytes for people, such as "3.2 GB"."""
    amount, unit = float(size), ""
    for unit in ("bytes", "KB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            break
        amount /= 1000
    return f"{amount:.3g} {unit}"


def _by_user() -> int | None:
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]?)B?", text.upper())
    if not match:
        raise MedleyError(f"{VARIABLE} is {text!r}; expected a size such as 20GB or 500MB")
    return int(float(match[1]) * _UNITS[match[2]])
