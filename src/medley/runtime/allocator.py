"""Keep the memory that large buffers had: on Linux, half of a network's time on a CPU can go into getting it back."""

from __future__ import annotations

import ctypes
import sys

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_KEEP = 1 << 30  # bytes of free memory that stay with the process


def keep_buffers() -> bool:
    """Tell glibc not to hand freed buffers back to the kernel; True where that could be told.

    By default every buffer of more than a few hundred kB is mapped anew, and the kernel clears each page at its first
    touch. A network makes hundreds of such buffers a second. Other C libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    options = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: _KEEP, _M_TOP_PAD: _KEEP // 8}
    return all(mallopt(*option) for option in options.items())
