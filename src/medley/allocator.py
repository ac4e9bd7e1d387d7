"""Keep the memory that large buffers had: on Linux, half of a network's time on a CPU can go into getting it back."""

from __future__ import annotations

import ctypes
import sys

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
_KEEP = 1 << 30  # bytes of free memory that stay with the process
_LARGE = 1 << 25  # bytes; the most that glibc takes as the limit of what is mapped by itself
_USUAL_MAPS = 1 << 16


def keep_buffers(*, large: bool = True) -> bool:
    """Tell glibc not to hand freed buffers back to the kernel; True where that could be told.

    By default every buffer of more than a few hundred kB is mapped anew, and the kernel clears each page at its first
    touch. A network makes hundreds of such buffers a second. Other C libraries are left as they are.

    large: buffers of more than 32 MB too. They leave holes that nothing else fits into, so a network that makes
    few of them, as those that restore do, needs less memory without and is as fast.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mapped = ((_M_MMAP_MAX, 0),) if large else ((_M_MMAP_THRESHOLD, _LARGE), (_M_MMAP_MAX, _USUAL_MAPS))
    return all(mallopt(*option) for option in (*mapped, (_M_TRIM_THRESHOLD, _KEEP), (_M_TOP_PAD, _KEEP // 8)))
