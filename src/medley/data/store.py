"""The store: pairs of a degraded and a good scan, one group a volume, one chunk a slice, and a manifest.

    STORE/manifest.json            settings, and one entry for every finished volume
    STORE/volumes/ID/input         (slice, row, column) float32, physical unit
    STORE/volumes/ID/target        the same scan as it should be

The arrays are zarr; any zarr reader opens them. A volume is named in the manifest only after all of it lies on disk,
so a store whose making was cut off is a smaller store, never a broken one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from pydantic import BaseModel, ConfigDict, ValidationError

import medley
from medley.errors import MedleyError
from medley.io.atomic import replacing
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


class Manifest(BaseModel):
    """The manifest: what made the store (`settings`), and its volumes."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    medley: str = medley.__version__
    settings: dict[str, Any]
    volumes: list[Entry] = []


class Store:
    """A store opened for reading.

    Raises
    ------
    MedleyError: no store at `path`, a manifest that cannot be read, or one of another format.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = _read_manifest(self.path)

    def entries(self, split: str | None = None, task: str | None = None) -> list[Entry]:
        """The volumes of a split and a task (None: of all), in the order of the manifest."""
        return [
            entry
            for entry in self.manifest.volumes
            if (split is None or entry.split == split) and (task is None or entry.task == task)
        ]

    def input(self, entry: Entry) -> zarr.Array:
        """The degraded scan, (slice, row, column) float32 in the physical unit; slices are read when indexed."""
        return self._array(entry, "input")

    def target(self, entry: Entry) -> zarr.Array:
        """The good scan, like `input`."""
        return self._array(entry, "target")

    def _array(self, entry: Entry, name: str) -> zarr.Array:
        return zarr.open_array(self.path / "volumes" / entry.id / name, mode="r")


class StoreWriter:
    """A store being made. Opening it on an unfinished store goes on with that store.

    Raises
    ------
    MedleyError: the folder holds something else, or a store made with other settings.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any]) -> None:
        self.path = Path(path)
        settings = json.loads(json.dumps(settings))  # what it will be when it is read again
        if (self.path / "manifest.json").exists():
            self.manifest = _read_manifest(self.path)
            if differing := _differences(self.manifest.settings, settings):
                raise MedleyError(
                    f"{self.path} was prepared with other settings ({differing}); use the same ones to go on with it, "
                    f"or another folder"
                )
        elif self.path.exists() and any(self.path.iterdir()):
            raise MedleyError(f"{self.path} is not empty and holds no medley store; choose an empty or a new folder")
        else:
            self.manifest = Manifest(settings=settings)
        self._done = {entry.id for entry in self.manifest.volumes}

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._done

    def add(self, entry: Entry, pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> None:
        """Write one volume, slice by slice, then name it in the manifest.

        Parameters
        ----------
        entry: its description; `entry.shape` slices are expected.
        pairs: (input, target) of each slice in order, each (row, column).
        """
        final = self.path / "volumes" / entry.id
        partial = final.with_name(f".{entry.id}.partial")
        for leftover in (partial, final):  # of a run that was cut off: the manifest does not name it
            shutil.rmtree(leftover, ignore_errors=True)
        group = zarr.open_group(partial, mode="w")
        arrays = [
            group.create_array(name, shape=entry.shape, chunks=(1, *entry.shape[1:]), dtype="float32")
            for name in ("input", "target")
        ]
        for k, pair in enumerate(pairs):
            for array, one in zip(arrays, pair, strict=True):
                array[k] = one
        os.replace(partial, final)
        self._done.add(entry.id)
        self.manifest.volumes.append(entry)
        _write_manifest(self.path, self.manifest)


def _differences(there: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    names = [name for name in sorted({*there, *asked}) if there.get(name) != asked.get(name)]
    return ", ".join(f"{name} was {there.get(name)!r}, now {asked.get(name)!r}" for name in names)


def _read_manifest(path: Path) -> Manifest:
    file = path / "manifest.json"
    try:
        text = file.read_text()
    except OSError:
        raise MedleyError(
            f"{path} is no medley store (it has no manifest.json); make one with `medley prepare`"
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


def _write_manifest(path: Path, manifest: Manifest) -> None:
    with replacing(path / "manifest.json", overwrite=True) as temporary:
        temporary.write_text(manifest.model_dump_json(indent=1))
