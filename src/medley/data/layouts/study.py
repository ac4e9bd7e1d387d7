"""What every layout gives: one scan, whose it is, and which split it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from medley.io.files import Scan


@dataclass(frozen=True)
class Study:
    """One scan of a data set.

    Attributes
    ----------
    scan: where it lies. source: its path relative to the data set, for the record.
    subject: the person. split: "train", "valid" or "test".
    modality: DICOM's code where the layout knows it, else "".
    """

    scan: Scan
    source: str
    subject: str
    split: str
    modality: str = ""
