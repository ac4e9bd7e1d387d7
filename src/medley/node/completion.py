"""Whether a series is complete."""

from __future__ import annotations

from medley.node.queue import Entry
from medley.node.settings import Completion


def verdict(entry: Entry, objects: int, now: float, settings: Completion) -> str | None:
    """None to wait, "" if the series is complete, or the reason why it cannot become complete.

    Parameters
    ----------
    objects: the number of objects that have arrived.
    now: seconds since 1970, as the times of the entry.
    """
    if entry.expected is not None and objects >= entry.expected:
        return ""
    if now - entry.arrived >= settings.quiet_seconds:
        if entry.expected is None:
            return ""
        return f"{objects} of {entry.expected} objects arrived, and none for {settings.quiet_seconds:g} seconds"
    if entry.expected is not None or entry.released is None or settings.released_seconds is None:
        return None
    return "" if now - entry.released >= settings.released_seconds else None
