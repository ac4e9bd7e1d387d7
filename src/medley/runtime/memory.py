"""How much memory is free."""

from __future__ import annotations

import os
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
# Limit and use of a container in cgroups version 2 and 1; the file cache in the use would be given up.
_CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_memory() -> int | None:
    """Bytes that this process can allocate without swapping; None if the system does not say."""
    found = [free for free in (_of_system(), *(_of_container(*cgroup) for cgroup in _CGROUPS)) if free is not None]
    return min(found, default=None)


def _of_system() -> int | None:
    try:
        if _MEMINFO.exists():
            fields = dict(line.split(":") for line in _MEMINFO.read_text().splitlines())
            return int(fields["MemAvailable"].removesuffix("kB")) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, KeyError, AttributeError):  # systems without these sources
        return None


def _of_container(folder: Path, limit: str, usage: str, cache: str) -> int | None:
    try:
        allowed = (folder / limit).read_text().strip()
        used = int((folder / usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return None if allowed == "max" else max(0, int(allowed) - used + int(stat.get(cache, 0)))
    except (OSError, ValueError):
        return None
