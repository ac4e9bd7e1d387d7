"""A short text for file names that identifies the process that made a file, and shows later whether it still runs."""

from __future__ import annotations

import os
import re
import socket
from functools import cache
from hashlib import sha256
from pathlib import Path

TOKEN = r"[0-9a-f]{6}-\d+-\d+"  # the pattern of `owner_token()`


def owner_token() -> str:
    """HOST-PID-START of this process: a hash of the host and its process namespace, the process id, its start time."""
    return f"{_host()}-{os.getpid()}-{_start_time(os.getpid()) or 0}"


def owner_is_dead(token: str) -> bool:
    """Whether the process that a token names has certainly ended.

    A process of another host, or of another container, is never called dead: nothing is known about it here.
    """
    if not re.fullmatch(TOKEN, token):
        return False
    host, pid, start = token.split("-")
    if host != _host():
        return False
    now = _start_time(int(pid))
    if now is not None:  # another process may have got the number since then
        return start != "0" and now != int(start)
    return not _exists(int(pid))


@cache
def _host() -> str:
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        namespace = ""
    return sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:6]


def _start_time(pid: int) -> int | None:
    """When a process started, in clock ticks after boot; None where the system does not say or there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name in brackets may hold spaces
    return None if state in "ZX" else int(fields[18])  # a zombie has ended


def _exists(pid: int) -> bool:
    if os.name != "posix":
        return True  # os.kill ends the process on Windows
    if Path("/proc/self/stat").exists():
        return False  # Linux lists all processes, and this one is not among them
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
