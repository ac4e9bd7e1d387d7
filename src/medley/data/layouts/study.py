"""What every layout gives: one scan or case, whose it is, and which split it belongs to."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from medley.io.files import Scan

# Names of folders and in tables, in lower case, and the split that they mean.
SPLITS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}


@dataclass(frozen=True)
class Study:
    """One scan of a data set of scans.

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


@dataclass(frozen=True)
class CaseData:
    """What was read of one case, on the grid, in the axes and in the units of the problem.

    Attributes
    ----------
    arrays: "image" (channels, *spatial) uint8, int16 or float32 in the problem's unit; a structures target
        (structures, *spatial) uint8 of 0 and 1, in the order of its names, zeros where not drawn; a map
        (1, *spatial) float32 in its unit; the `within` mask of a target (1, *spatial) uint8. What is missing is
        left out.
    spacing: mm along each spatial axis; () where a pixel has no size.
    drawn: {structures target: the names that were drawn for this case}.
    labels: {classes target: the name of the case's class}; a missing one is left out.
    """

    arrays: Mapping[str, np.ndarray]
    spacing: tuple[float, ...] = ()
    drawn: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseFiles:
    """One case of a data set with targets, found but not read.

    A layout of cases is a function `cases(source, *, table, size) -> (Problem, list[CaseFiles])`.

    Attributes
    ----------
    id: its name in the store, fit for a folder's. source: its path relative to the data set.
    subject: the person. split: "train", "valid" or "test".
    read: gives the case; called when it is its turn, and not at all if the store has it already.
    """

    id: str
    source: str
    subject: str
    split: str
    read: Callable[[], CaseData]


def split_by_name(subject: str, valid_fraction: float = 0.2) -> str:
    """The split of a subject to whom nothing gives one, "train" or "valid".

    It depends on the name alone: it stays the same when other subjects come or go.
    """
    return "valid" if zlib.crc32(subject.encode()) / 2**32 < valid_fraction else "train"
