"""The manifest of a store: its settings, its tasks, and an entry for every complete record.

While a store is being prepared, each complete record is appended to a journal, a line of JSON in `records.jsonl`, so
that the cost of a record does not depend on their number. At the end the journal becomes part of `manifest.json`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

import medley
from medley.errors import MedleyError
from medley.normalisation import Normalisation
from medley.runtime.atomic import replacing, writing
from medley.targets import Target
from medley.tasks import Task

FORMAT = 2
INPUT = "input"  # name of a record's input array
MANIFEST, JOURNAL = "manifest.json", "records.jsonl"  # in the folder of the store


class Record(BaseModel):
    """The entry of one record: a scan with its targets.

    Attributes
    ----------
    id: name of its group in the store.
    subject: the person; all records of a person are in one split.
    split: "train", "valid" or "test".
    task: name of its task in the manifest.
    shape: spatial, (slices, rows, columns) or (rows, columns).
    spacing: mm along each spatial axis; () where a pixel has no size.
    normalisation: of the input, and of a target "image".
    degradation: of a restoration record: its `name` and the `parameters` that were drawn; they make the same input
        again.
    drawn: {structures target: names that were drawn for this record}; other structures are missing, not empty.
    labels: {classes target: name of the class}; a missing label is not listed.
    source: the file or series it was made from, relative to the prepared folder.
    checksums: {array: CRC-32 of its values} of all its arrays: "input", and the targets and masks that it has.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    id: str
    subject: str
    split: str
    task: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...] = ()
    normalisation: Normalisation
    degradation: dict[str, Any] = {}
    drawn: dict[str, tuple[str, ...]] = {}
    labels: dict[str, str] = {}
    source: str = ""
    checksums: dict[str, str] = {}

    def has(self, target: Target, name: str = "") -> bool:
        """Whether the record has a target, or one structure or class of it."""
        if target.kind == "classes":
            return self.labels.get(target.name) == name if name else target.name in self.labels
        drawn = self.drawn.get(target.name, ())
        return name in drawn if name else target.name in self.checksums


class Manifest(BaseModel):
    """The manifest: the settings that the store was made with, {name: task}, and its records."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    medley: str = medley.__version__
    settings: dict[str, Any]
    tasks: dict[str, Task]
    records: list[Record] = []


def read_manifest(path: Path) -> Manifest:
    """The manifest of the store at `path`, with the records of its journal.

    Raises
    ------
    MedleyError: there is none, it cannot be read, or it is of another format.
    """
    file = path / MANIFEST
    journal = _read_journal(path / JOURNAL)  # first: another process may put it into the manifest meanwhile
    try:
        text = file.read_bytes()
    except OSError:
        raise MedleyError(
            f"{path} is not a medley store (it has no manifest.json); make one with `medley prepare`"
        ) from None
    _check_format(file, text)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise MedleyError(f"{file} cannot be read: {where}: {first['msg']}; prepare the store again") from None
    listed = {record.id for record in manifest.records}
    manifest.records += [record for record in journal if record.id not in listed]
    for record in manifest.records:
        if record.task not in manifest.tasks:
            raise MedleyError(
                f"{file}: the task {record.task!r} of {record.id} is not defined; prepare the store again"
            )
        if INPUT not in record.checksums:
            raise MedleyError(f"{file}: {record.id} has no checksum of its input; prepare the store again")
    return manifest


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replace the manifest of the store at `path`, completely or not at all, and remove the journal."""
    with replacing(path / MANIFEST, overwrite=True) as temporary:
        temporary.write_text(manifest.model_dump_json(indent=1))
    (path / JOURNAL).unlink(missing_ok=True)


def append_record(path: Path, record: Record) -> None:
    """Append a record to the journal of the store at `path`; it is on the disk when this returns.

    Raises
    ------
    MedleyError: it cannot be written, such as on a full disk; readers ignore an incomplete line.
    """
    with writing(path / JOURNAL), (path / JOURNAL).open("a") as file:
        file.write(record.model_dump_json() + "\n")
        file.flush()
        os.fsync(file.fileno())


def _read_journal(file: Path) -> list[Record]:
    """The records of a journal; a last line without its end, of a process that was killed, is left out."""
    try:
        lines = file.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    try:
        return [Record.model_validate_json(line) for line in lines]
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise MedleyError(f"{file} cannot be read: {reason}; prepare the store again") from None


def _check_format(file: Path, text: bytes) -> None:
    """Refuse another format, whose fields differ; a file that is not JSON is left to the validation."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return
    found = content.get("format") if isinstance(content, dict) else None
    if isinstance(found, int) and found < FORMAT:
        raise MedleyError(f"{file.parent} was made by an older medley (store format {found}); prepare it again")
    if isinstance(found, int) and found > FORMAT:
        raise MedleyError(
            f"{file.parent} was made by a newer medley (store format {found}, this one reads {FORMAT}); update medley"
        )
