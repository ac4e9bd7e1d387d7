"""The store: what networks are trained and scored on, as zarr arrays beside a manifest.

    STORE/manifest.json            settings, tasks, an entry for every complete record
    STORE/records/ID/input         (channels, *spatial) uint8, int16 or float32, the task's unit
    STORE/records/ID/TARGET        an image or a map: (1, *spatial) float32, its unit; structures: (structures,
                                   *spatial) uint8, 0 and 1, zeros where not drawn
    STORE/records/ID/WITHIN        (1, *spatial) uint8, where a map is scored

Targets that a record lacks are absent. Restoration records have one chunk for each slice, others one for each array.
Any zarr reader opens them. A record is listed only after all of it was written, so a store whose preparation was
interrupted is a smaller store, but a valid one. Until then the records are listed in STORE/records.jsonl
(`medley.data.record`).
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from medley.data.record import (
    INPUT,
    JOURNAL,
    MANIFEST,
    Manifest,
    Record,
    append_record,
    read_manifest,
    write_manifest,
)
from medley.errors import MedleyError
from medley.runtime.guard import reading
from medley.runtime.locks import is_empty
from medley.runtime.names import child
from medley.targets import Target
from medley.tasks import Task

# Files are larger than with zstd by a third, but are decoded in a third of the time, again and again during training.
COMPRESSOR = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")
INPUT_TYPES = ("uint8", "int16", "float32")


class StoredArray:
    """An array of a store; parts of it are read when it is indexed.

    Attributes
    ----------
    shape, dtype, chunks: of the array.

    Raises
    ------
    MedleyError: it is missing or damaged, when it is opened or read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with reading(path, "an array of a store"):
            self._array = zarr.open_array(path, mode="r")
            self.shape, self.dtype, self.chunks = self._array.shape, self._array.dtype, self._array.chunks

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        with reading(self._path, "an array of a store"):
            return np.asarray(self._array[index])


class Store:
    """A store opened for reading.

    Attributes
    ----------
    path: the folder. manifest: its settings, tasks and records.

    Raises
    ------
    MedleyError: no store at `path`, a manifest that cannot be read, or one of another format.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        self._verified: set[str] = set()

    def task(self, record: Record) -> Task:
        """The task of a record."""
        return self.manifest.tasks[record.task]

    def prediction_task(self) -> Task:
        """The task with targets other than the restored image; a store has at most one.

        Raises
        ------
        MedleyError: all records are for restoration.
        """
        for task in self.manifest.tasks.values():
            if not task.restores:
                return task
        raise MedleyError(
            f"{self.path} contains scans to restore, but records with other targets are needed; prepare a data set "
            "that has some"
        )

    @property
    def restores(self) -> bool:
        """Whether the records are for restoration."""
        return all(task.restores for task in self.manifest.tasks.values())

    def records(self, split: str | None = None, task: str | None = None) -> list[Record]:
        """The records of a split and a task (None: of all), in the order of the manifest."""
        return [
            record
            for record in self.manifest.records
            if (split is None or record.split == split) and (task is None or record.task == task)
        ]

    def array(self, record: Record, name: str) -> StoredArray:
        """One array of a record: "input", the name of a target, or the mask of a region; read when indexed.

        Raises
        ------
        MedleyError: the record has no such array.
        """
        folder = self.path / "records" / record.id / name
        if not folder.is_dir():
            reason = "is missing, but the manifest lists it; prepare the store again"
            raise MedleyError(
                f"{folder}: {reason}" if name in record.checksums else f"{self.path}: {record.id} has no {name}"
            )
        return StoredArray(folder)

    def verify(self, record: Record) -> None:
        """Read all arrays of a record and compare them with their checksums.

        A part of an array that is missing on disk reads as zeros; only the checksum shows it. Records are verified
        once.

        Raises
        ------
        MedleyError: an array is missing, cannot be read, or has other values than when it was written.
        """
        if record.id in self._verified:
            return
        for name, expected in sorted(record.checksums.items()):
            found = _checksum(self.array(record, name))
            if found != expected:
                raise MedleyError(
                    f"{self.path / 'records' / record.id / name}: has other values than when it was written (checksum "
                    f"{found}, expected {expected}); it is damaged or incomplete: prepare the store again"
                )
        self._verified.add(record.id)


class StoreWriter:
    """A store being written. Opening it on an incomplete store continues that store.

    Without `finish` the store is valid, but has a journal beside its manifest.

    Parameters
    ----------
    path: the folder. settings: what the store is made with. tasks: those of its records.

    Raises
    ------
    MedleyError: the folder contains something else, or a store made with other settings or for other tasks.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any], tasks: Mapping[str, Task]) -> None:
        self.path = Path(path)
        settings = json.loads(json.dumps(settings))  # as it will be read from the manifest
        if (self.path / MANIFEST).exists():
            self.manifest = read_manifest(self.path)
            common = [name for name in tasks if name in self.manifest.tasks]
            found, now = ({f"task {name}": _plain(of[name]) for name in common} for of in (self.manifest.tasks, tasks))
            if different := _differences({**self.manifest.settings, **found}, {**settings, **now}):
                raise MedleyError(
                    f"{self.path} was prepared with other settings ({different}); use the same settings to continue, "
                    f"or another folder"
                )
            self.manifest.tasks.update(tasks)
            write_manifest(self.path, self.manifest)  # with the journal of a run that was interrupted
        elif self.path.exists() and not is_empty(self.path):
            raise MedleyError(f"{self.path} is not empty and contains no medley store; choose an empty or a new folder")
        else:
            self.manifest = Manifest(settings=settings, tasks=dict(tasks))
        self._complete = {record.id for record in self.manifest.records}

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._complete

    def add(self, record: Record, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one record, then list it.

        Parameters
        ----------
        record: its entry, without checksums.
        arrays: "input", the targets and the masks that the record has, (channels, *spatial), by name.

        Raises
        ------
        ValueError: an array that the task does not have, or of another shape or type than it should have; nothing was
            written.
        """
        task = self.manifest.tasks[record.task]
        _check_arrays(task, record, arrays)
        with self._new_group(record.id) as group:
            for name, values in arrays.items():
                chunks = (1, 1, *values.shape[2:]) if task.restores else values.shape
                group.create_array(name, data=values, chunks=chunks, compressors=COMPRESSOR)
        checksums = {name: _checksum(values) for name, values in arrays.items()}
        record = record.model_copy(update={"checksums": checksums})
        append_record(self.path, record)
        self.manifest.records.append(record)
        self._complete.add(record.id)

    def finish(self) -> None:
        """Put the records of the journal into the manifest."""
        if (self.path / JOURNAL).exists():
            write_manifest(self.path, self.manifest)

    @contextmanager
    def _new_group(self, identifier: str) -> Iterator[zarr.Group]:
        """A group to fill; it gets its final name when it is complete."""
        final = child(self.path / "records", identifier, "the id")
        partial = final.with_name(f".{identifier}.partial")
        for leftover in (partial, final):  # of a run that was interrupted: it is not listed
            shutil.rmtree(leftover, ignore_errors=True)
        if not (self.path / MANIFEST).exists():  # a run that is stopped in its first record can be continued
            write_manifest(self.path, self.manifest)
        yield zarr.open_group(partial, mode="w")
        os.replace(partial, final)


def _check_arrays(task: Task, record: Record, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless `arrays` are those that the record should have, with their shapes and types."""
    voxelwise = [target for target in task.targets if target.kind != "classes" and target.name in arrays]
    required = {target.name for target in task.targets if target.kind == "image" or record.drawn.get(target.name)}
    expected: dict[str, tuple[int, tuple[str, ...]]] = {INPUT: (len(task.channels), INPUT_TYPES)}
    for target in voxelwise:
        expected[target.name] = target.channels, _types(target)
        if target.within:
            expected[target.within] = 1, ("uint8",)
    if set(arrays) != set(expected) or not required <= set(arrays):
        raise ValueError(
            f"{record.id}: the arrays are {sorted(arrays)}, but {sorted(required | set(expected))} are expected"
        )
    for name, (channels, types) in expected.items():
        values = arrays[name]
        if values.shape != (channels, *record.shape) or values.dtype.name not in types:
            raise ValueError(
                f"{record.id}: {name} is {values.dtype} {values.shape}, expected {' or '.join(types)} "
                f"{(channels, *record.shape)}"
            )


def _types(target: Target) -> tuple[str, ...]:
    return ("uint8",) if target.kind == "structures" else ("float32",)


def _checksum(array: np.ndarray | StoredArray) -> str:
    """CRC-32 of the values of an array in C order, as 8 hexadecimal digits; read along the first two axes."""
    checksum = 0
    depth = array.chunks[1] if isinstance(array, StoredArray) else array.shape[1]
    for channel in range(array.shape[0]) if depth < array.shape[1] else (slice(None),):
        for k in range(0, array.shape[1], depth):
            values = array[channel, k : k + depth]
            checksum = zlib.crc32(np.ascontiguousarray(values).data, checksum)
    return f"{checksum:08x}"


def _plain(task: Task) -> dict[str, Any]:
    return task.model_dump(mode="json")


def _differences(found: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two mappings; nested mappings are compared field by field."""
    parts = []
    for name in sorted({*found, *now}):
        before, after = found.get(name), now.get(name)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            parts.append(f"{name}: {_differences(before, after)}")
        else:
            parts.append(f"{name} was {before!r:.80}, now {after!r:.80}")
    return ", ".join(parts)
