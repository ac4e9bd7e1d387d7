"""What reports say about the comparison of a scan with the training scans of the network."""

from __future__ import annotations

from medley.apps._page import minus
from medley.inference.training_scans import Likeness


def unlike(likeness: Likeness | None, name: str) -> str:
    """A sentence for the top of a report where the scan is unlike the training scans of the network `name`; else ""."""
    if likeness is None or likeness.alike:
        return ""
    return f" This scan is {minus(likeness.sentence(name))}."


def compared(likeness: Likeness | None) -> str:
    """The result of the comparison, for a table."""
    if likeness is None:
        return "not compared"
    words = "like this scan" if likeness.alike else "unlike this scan"
    return f"{words}: distance {likeness.distance:.2f}, limit {likeness.limit:.2f}"
