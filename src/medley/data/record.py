"""What a store says of itself: its settings, and an entry for every finished volume or case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

import medley
from medley.errors import MedleyError
from medley.problems import Problem
from medley.runtime.atomic import replacing
from medley.tasks import Normalisation

FORMAT = 1


class Entry(BaseModel):
    """What the manifest says of one volume.

    Attributes
    ----------
    id: name of its group in the store.
    subject: the person; all volumes of one person are in one split.
    split: "train", "valid" or "test".
    task, modality, unit: as in `medley.tasks`.
    shape: (slices, rows, columns). spacing: (row, column) distance in mm.
    normalisation: the values that become 0 and 1 (`low`, `high`) and whether to clip.
    degradation: its `name` and the `parameters` that were drawn; they make the same input again.
    source: file or series it came from, relative to the prepared folder.
    checksums: {array: CRC-32 of its values}; empty in stores of an older medley.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    id: str
    subject: str
    split: str
    task: str
    modality: str
    unit: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float]
    normalisation: Normalisation
    degradation: dict[str, Any]
    source: str
    checksums: dict[str, str] = {}


class Case(BaseModel):
    """What the manifest says of one case of a problem.

    Attributes
    ----------
    id: name of its group in the store.
    subject: the person; all cases of one person are in one split. split: "train", "valid" or "test".
    shape: spatial, (slices, rows, columns) or (rows, columns). spacing: mm along each axis; () where unknown.
    drawn: {structures target: names that were drawn for this case}; the others are not empty but missing.
    labels: {classes target: name of the class}; a missing one is not there.
    maps: the map targets that are there.
    source: where it came from, relative to the prepared folder.
    checksums: {array: CRC-32 of its values}; empty in stores of an older medley.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    subject: str
    split: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...] = ()
    drawn: dict[str, tuple[str, ...]] = {}
    labels: dict[str, str] = {}
    maps: tuple[str, ...] = ()
    source: str = ""
    checksums: dict[str, str] = {}


class Manifest(BaseModel):
    """The manifest: what made the store (`settings`), its volumes, or its problem and the cases of it."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    medley: str = medley.__version__
    settings: dict[str, Any]
    volumes: list[Entry] = []
    problem: Problem | None = None
    cases: list[Case] = []


def read_manifest(path: Path) -> Manifest:
    """The manifest of the store at `path`.

    Raises
    ------
    MedleyError: there is none, it cannot be read, or it is of another format.
    """
    file = path / "manifest.json"
    try:
        text = file.read_bytes()
    except OSError:
        raise MedleyError(
            f"{path} is not a medley store (it has no manifest.json); make one with `medley prepare`"
        ) from None
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise MedleyError(f"{file} cannot be read: {where}: {first['msg']}; prepare the store again") from None
    if manifest.format != FORMAT:
        raise MedleyError(f"{file} has format {manifest.format}, this medley reads {FORMAT}; prepare the store again")
    return manifest


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replace the manifest of the store at `path`, whole or not at all."""
    with replacing(path / "manifest.json", overwrite=True) as temporary:
        temporary.write_text(manifest.model_dump_json(indent=1))
