"""The results of layouts: scans, or records with targets, with their subject and split."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medley.errors import MedleyError
from medley.io.files import Scan
from medley.normalisation import Normalisation

# Names in folders and tables, in lower case, and their splits.
SPLITS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}


@dataclass(frozen=True)
class Study:
    """One scan of a data set of good scans.

    Attributes
    ----------
    scan: its files. source: its path relative to the data set.
    subject: the person. split: "train", "valid" or "test".
    modality: DICOM's code if the layout knows it, else "".
    task: the name of the restoration task if the layout knows it; "": the one for the modality.
    """

    scan: Scan
    source: str
    subject: str
    split: str
    modality: str = ""
    task: str = ""


@dataclass(frozen=True)
class RecordData:
    """The values of one record, with the grid, axes and units of its task.

    Attributes
    ----------
    arrays: (channels, *spatial) each. "input", uint8, int16 or float32; an image or a map, float32; structures, uint8
        of 0 and 1 in the order of the target's names, zeros where not drawn; the `within` mask of a target, uint8.
        Missing ones are left out.
    spacing: mm along each spatial axis; () if pixels have no size.
    drawn: {structures target: the names that were drawn for this record}.
    labels: {classes target: name of the class}; a missing one is left out.
    task: its name; "" for the only task of the data set.
    normalisation: of the input; None for that of the task. degradation: its name and parameters, for restoration.
    """

    arrays: Mapping[str, np.ndarray]
    spacing: tuple[float, ...] = ()
    drawn: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    task: str = ""
    normalisation: Normalisation | None = None
    degradation: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordSource:
    """One record of a data set, found but not read.

    A layout of records with targets is a function `records(source, *, table, size) -> (Task, list[RecordSource])`.

    Attributes
    ----------
    id: its name in the store, which can be the name of a folder. source: its path relative to the data set.
    subject: the person. split: "train", "valid" or "test".
    read: returns the values; not called if the store already contains the record.
    """

    id: str
    source: str
    subject: str
    split: str
    read: Callable[[], RecordData]


def split_of(
    subject: str, folders: Iterable[str], where: str = "", *, stated: str = "", valid_fraction: float = 0.2
) -> str:
    """The split of a subject: as stated, else that of the first folder in its path with the name of one, else by name.

    Parameters
    ----------
    folders: of the path within the data set. where: begins the message.
    stated: the cell of a table; may be empty. valid_fraction: as in `split_by_name`.

    Raises
    ------
    MedleyError: the stated split is unknown.
    """
    name = stated or next((folder for folder in folders if folder.lower() in SPLITS), "")
    if name and name.lower() not in SPLITS:
        raise MedleyError(f"{where} is in split {name!r}, expected one of {', '.join(SPLITS)}")
    return SPLITS[name.lower()] if name else split_by_name(subject, valid_fraction)


def split_by_name(subject: str, valid_fraction: float = 0.2) -> str:
    """The split of a subject, "train" or "valid", if the data set does not state one.

    It depends only on the name, so it does not change when subjects are added or removed.
    """
    return "valid" if zlib.crc32(subject.encode()) / 2**32 < valid_fraction else "train"
