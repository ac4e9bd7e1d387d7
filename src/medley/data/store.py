"""The store: what networks are trained on, as zarr arrays beside a manifest.

    STORE/manifest.json            settings, the problem if there is one, an entry for every finished volume or case

Pairs of a degraded and a good scan, one chunk a slice:

    STORE/volumes/ID/input         (slice, row, column) float32, physical unit
    STORE/volumes/ID/target        the same scan as it should be

Cases of a problem with several targets, one chunk an array; targets that a case lacks are not there:

    STORE/cases/ID/image           (channels, *spatial) uint8, int16 or float32, the problem's unit
    STORE/cases/ID/TARGET          structures: (structures, *spatial) uint8, 0 and 1, zeros where not drawn;
                                   a map: (1, *spatial) float32, its unit
    STORE/cases/ID/WITHIN          (1, *spatial) uint8, where a map is asked

Any zarr reader opens them. A volume or case is named in the manifest only after all of it lies on disk, so a store
whose making was cut off is a smaller store, never a broken one.
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

from medley.data.record import Case, Entry, Manifest, read_manifest, write_manifest
from medley.errors import MedleyError
from medley.problems import Problem
from medley.runtime.guard import reading
from medley.runtime.locks import is_empty
from medley.runtime.names import child

# A third of zstd's size is lost, but a case is decoded in a third of its time; training decodes it again and again.
COMPRESSOR = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")


class StoredArray:
    """An array of a store; parts of it are read when it is indexed.

    Attributes
    ----------
    shape, dtype, chunks: of the array.

    Raises
    ------
    MedleyError: it is not there or damaged, when it is opened or read.
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

    Raises
    ------
    MedleyError: no store at `path`, a manifest that cannot be read, or one of another format.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        self._verified: set[str] = set()

    def entries(self, split: str | None = None, task: str | None = None) -> list[Entry]:
        """The volumes of a split and a task (None: of all), in the order of the manifest."""
        return [
            entry
            for entry in self.manifest.volumes
            if (split is None or entry.split == split) and (task is None or entry.task == task)
        ]

    def cases(self, split: str | None = None) -> list[Case]:
        """The cases of a split (None: of all), in the order of the manifest."""
        return [case for case in self.manifest.cases if split is None or case.split == split]

    def array(self, case: Case, name: str) -> StoredArray:
        """One array of a case: "image", a pixel target or the mask of its region; read when indexed.

        Raises
        ------
        MedleyError: the case has no such array.
        """
        folder = self.path / "cases" / case.id / name
        if not folder.is_dir():
            raise MedleyError(f"{self.path}: case {case.id} has no {name}")
        return StoredArray(folder)

    def input(self, entry: Entry) -> StoredArray:
        """The degraded scan, (slice, row, column) float32 in the physical unit; slices are read when indexed."""
        return self._array(entry, "input")

    def target(self, entry: Entry) -> StoredArray:
        """The good scan, like `input`."""
        return self._array(entry, "target")

    def verify(self, record: Entry | Case) -> None:
        """Read all arrays of a record and compare them with their checksums.

        A part of an array that is missing on disk reads as zeros; only the checksum shows it. Records are verified
        once.

        Raises
        ------
        MedleyError: an array is missing, cannot be read, or has other values than when it was written.
        """
        if record.id in self._verified:
            return
        folder = self.path / ("volumes" if isinstance(record, Entry) else "cases") / record.id
        if not folder.is_dir():
            raise MedleyError(f"{folder}: is missing, but the manifest lists it; prepare the store again")
        for name in sorted(record.checksums or {path.name for path in folder.iterdir() if path.is_dir()}):
            checksum = _checksum(StoredArray(folder / name))
            if record.checksums and checksum != record.checksums[name]:
                raise MedleyError(
                    f"{folder / name}: has other values than when it was written (checksum {checksum}, expected "
                    f"{record.checksums[name]}); it is damaged or incomplete: prepare the store again"
                )
        self._verified.add(record.id)

    def _array(self, entry: Entry, name: str) -> StoredArray:
        return StoredArray(self.path / "volumes" / entry.id / name)


class StoreWriter:
    """A store being written. Opening it on an unfinished store continues that store.

    Parameters
    ----------
    path: the folder. settings: what the store is made with. problem: what its cases are asked, if it is to hold cases.

    Raises
    ------
    MedleyError: the folder holds something else, or a store made with other settings or for another problem.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any], problem: Problem | None = None) -> None:
        self.path = Path(path)
        settings = json.loads(json.dumps(settings))  # what it will be when it is read again
        if (self.path / "manifest.json").exists():
            self.manifest = read_manifest(self.path)
            if differing := _differences(self.manifest.settings, settings) or _other(self.manifest.problem, problem):
                raise MedleyError(
                    f"{self.path} was prepared with other settings ({differing}); use the same ones to go on with it, "
                    f"or another folder"
                )
        elif self.path.exists() and not is_empty(self.path):
            raise MedleyError(f"{self.path} is not empty and contains no medley store; choose an empty or a new folder")
        else:
            self.manifest = Manifest(settings=settings, problem=problem)
        self._done = {one.id for one in self.manifest.volumes} | {one.id for one in self.manifest.cases}

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._done

    def add(self, entry: Entry, pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> None:
        """Write one volume, slice by slice, then name it in the manifest.

        Parameters
        ----------
        entry: its description; `entry.shape` slices are expected.
        pairs: (input, target) of each slice in order, each (row, column).
        """
        names = ("input", "target")
        checksums = dict.fromkeys(names, 0)
        with self._new_group("volumes", entry.id) as group:
            arrays = [
                group.create_array(name, shape=entry.shape, chunks=(1, *entry.shape[1:]), dtype="float32")
                for name in names
            ]
            for k, pair in enumerate(pairs):
                for name, array, one in zip(names, arrays, pair, strict=True):
                    values = np.ascontiguousarray(one, np.float32)
                    array[k] = values
                    checksums[name] = zlib.crc32(values.tobytes(), checksums[name])
        written = {name: f"{checksum:08x}" for name, checksum in checksums.items()}
        self.manifest.volumes.append(entry.model_copy(update={"checksums": written}))
        self._named(entry.id)

    def add_case(self, case: Case, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one case, then name it in the manifest.

        Parameters
        ----------
        case: its description.
        arrays: what the module's docstring lists, by name; their dtypes are kept.

        Raises
        ------
        ValueError: an array that the problem does not know, or of another shape or type than it should have.
        """
        expected = self._expected(case)
        if set(arrays) != set(expected):
            raise ValueError(f"{case.id}: the arrays {sorted(arrays)} came, but {sorted(expected)} were expected")
        for name, (channels, dtypes) in expected.items():
            found = arrays[name]
            if found.shape != (channels, *case.shape) or found.dtype.name not in dtypes:
                raise ValueError(
                    f"{case.id}: {name} is {found.dtype} {found.shape}, expected {' or '.join(dtypes)} "
                    f"{(channels, *case.shape)}"
                )
        with self._new_group("cases", case.id) as group:
            for name, values in arrays.items():
                group.create_array(name, data=values, chunks=values.shape, compressors=COMPRESSOR)
        checksums = {name: _checksum(values) for name, values in arrays.items()}
        self.manifest.cases.append(case.model_copy(update={"checksums": checksums}))
        self._named(case.id)

    def _expected(self, case: Case) -> dict[str, tuple[int, tuple[str, ...]]]:
        """{array: (channels, dtypes)} of a case that has what `case` says."""
        problem = self.manifest.problem
        if problem is None:
            raise ValueError(f"{self.path} was opened without a problem and takes no cases")
        expected: dict[str, tuple[int, tuple[str, ...]]] = {
            "image": (len(problem.channels), ("uint8", "int16", "float32"))
        }
        for target in problem.targets:
            if target.name in {**case.drawn, **dict.fromkeys(case.maps)}:
                dtype = "uint8" if target.kind == "structures" else "float32"
                expected[target.name] = target.channels, (dtype,)
                if target.within:
                    expected[target.within] = 1, ("uint8",)
        return expected

    @contextmanager
    def _new_group(self, kind: str, identifier: str) -> Iterator[zarr.Group]:
        """A group to fill; it takes its name when it is full."""
        final = child(self.path / kind, identifier, "the id")
        partial = final.with_name(f".{identifier}.partial")
        for leftover in (partial, final):  # of a run that was cut off: the manifest does not name it
            shutil.rmtree(leftover, ignore_errors=True)
        if not (self.path / "manifest.json").exists():  # a run that is stopped in its first record can be continued
            write_manifest(self.path, self.manifest)
        yield zarr.open_group(partial, mode="w")
        os.replace(partial, final)

    def _named(self, identifier: str) -> None:
        self._done.add(identifier)
        write_manifest(self.path, self.manifest)


def _checksum(array: np.ndarray | StoredArray) -> str:
    """CRC-32 of the values of an array in C order, read along its first axis, as 8 hexadecimal digits."""
    checksum = 0
    for k in range(len(array)):
        checksum = zlib.crc32(array[k].tobytes(), checksum)
    return f"{checksum:08x}"


def _differences(there: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    names = [name for name in sorted({*there, *asked}) if there.get(name) != asked.get(name)]
    return ", ".join(f"{name} was {there.get(name)!r}, now {asked.get(name)!r}" for name in names)


def _other(there: Problem | None, asked: Problem | None) -> str:
    """The fields in which two problems differ."""
    names = [name for name in Problem.model_fields if getattr(there, name, None) != getattr(asked, name, None)]
    return f"another {', '.join(names)} of the problem" if names else ""
