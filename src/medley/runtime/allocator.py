"""Reuse of large buffers: on Linux, allocating them again can take half of a network's time on a CPU."""

from __future__ import annotations

import ctypes
import sys

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_KEEP = 1 << 30  # bytes of freed memory that the process keeps


def keep_buffers() -> bool:
    """Configure glibc's malloc to keep freed buffers; returns whether that was possible.

    By default, every buffer of more than a few hundred kB is mapped again, and the kernel clears each page at its first
    use. A network allocates hundreds of such buffers per second. Other C libraries are not changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    options = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: _KEEP, _M_TOP_PAD: _KEEP // 8}
    return all(mallopt(*option) for option in options.items())
