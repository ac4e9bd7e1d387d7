"""How much memory is free, as far as the system tells."""

from __future__ import annotations

import os
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
# What a container may use and what it uses, with the file cache that it would give up: cgroups, version 2 and 1.
_CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_memory() -> int | None:
    """Bytes that this process can still have without pushing others out; None where the system does not tell."""
    found = [free for free in (_of_system(), *(_of_container(*cgroup) for cgroup in _CGROUPS)) if free is not None]
    return min(found, default=None)


def _of_system() -> int | None:
    try:
        if _MEMINFO.exists():
            told = dict(line.split(":") for line in _MEMINFO.read_text().splitlines())
            return int(told["MemAvailable"].removesuffix("kB")) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, KeyError, AttributeError):  # other systems lack the one or the other
        return None


def _of_container(folder: Path, limit: str, usage: str, cache: str) -> int | None:
    try:
        allowed = (folder / limit).read_text().strip()
        used = int((folder / usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return None if allowed == "max" else max(0, int(allowed) - used + int(stat.get(cache, 0)))
    except (OSError, ValueError):
        return None
