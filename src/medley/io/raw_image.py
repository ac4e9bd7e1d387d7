"""The common parts of MetaImage and NRRD: a text header, and plain or compressed values in the same or another file.

Both are read here and not by a native library, so that sizes are known before memory is allocated, checksums are
verified to the end, and a damaged file cannot end the process.
"""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from medley.errors import MedleyError
from medley.runtime.limits import check_memory, check_unpacked, in_words

HEADER_BYTES = 2**20  # a longer header is no header


@dataclass(frozen=True)
class RawImage:
    """A header in the terms of both formats.

    Attributes
    ----------
    shape: (slice, row, column).  dtype: of the stored values, with byte order.
    affine: (4, 4), (slice, row, column, 1) -> mm, in DICOM's LPS coordinates.
    file: that holds the values.  offset: their first byte; None where they are the end of the file.
    encoding: "raw", "zlib", "gzip", "bzip2".
    note: what medley wrote as "medley", or "".
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    affine: np.ndarray
    file: Path
    offset: int | None
    encoding: str
    note: str

    @property
    def count(self) -> int:
        """Number of bytes of all values."""
        return int(np.prod([int(n) for n in self.shape], dtype=object)) * self.dtype.itemsize


def read_header(path: Path, file: IO[bytes], last: bytes) -> tuple[list[str], int]:
    """The lines of a text header, and the byte after it.

    Parameters
    ----------
    last: how the last line begins; b"" for an empty line. A header without it ends with its file.

    Raises
    ------
    MedleyError: no end within `HEADER_BYTES`.
    """
    lines: list[str] = []
    while (line := file.readline(HEADER_BYTES)) and file.tell() <= HEADER_BYTES:
        text = line.strip()
        lines.append(text.decode("utf-8", "replace"))
        if text.startswith(last) if last else not text:
            return lines, file.tell()
    if line:
        raise MedleyError(f"{path}: has a header without an end; it is damaged")
    return lines, file.tell()


def numbers(text: str, count: int, what: str, path: Path) -> list[float]:
    """`count` finite numbers of a header field.

    Raises
    ------
    MedleyError
    """
    try:
        found = [float(word) for word in text.replace(",", " ").replace("(", " ").replace(")", " ").split()]
    except ValueError:
        found = []
    if len(found) != count or not np.isfinite(found).all():
        raise MedleyError(f"{path}: {what} is {text[:80]!r}; expected {count} numbers")
    return found


def three_sizes(text: str, axes: int, what: str, path: Path) -> tuple[int, int, int]:
    """The size of a volume, (slice, row, column), from a field that lists (column, row, slice).

    Raises
    ------
    MedleyError: not three axes, or sizes that are not positive whole numbers.
    """
    if axes != 3:
        raise MedleyError(f"{path}: has {axes} axes; expected one volume of three")
    sizes = numbers(text, 3, what, path)
    if any(n < 1 or n % 1 or n > 2**31 for n in sizes):
        raise MedleyError(f"{path}: {what} is {text[:80]!r}; expected three positive whole numbers")
    return int(sizes[2]), int(sizes[1]), int(sizes[0])


def beside(path: Path, name: str) -> Path:
    """The data file that a header names.

    Raises
    ------
    MedleyError: it does not lie in the folder of the header, or does not exist.
    """
    if Path(name).name != name or "\\" in name or name in ("", ".", ".."):
        raise MedleyError(f"{path}: names the data file {name!r}; expected one file in the same folder: move it there")
    file = path.with_name(name)
    if file.is_symlink() and file.resolve().parent != path.resolve().parent:
        raise MedleyError(f"{path}: its data file {name} is a link to another folder; copy the file there")
    if not file.is_file():
        raise MedleyError(f"{path}: its data file {name} is missing; copy both files together")
    return file


def read_values(image: RawImage, path: Path) -> np.ndarray:
    """The stored values, (slice, row, column); lengths and checksums are verified.

    Raises
    ------
    MedleyError: fewer or more values than the header states; more memory than is free.
    OSError, EOFError, zlib.error: compressed data is damaged.
    """
    size = image.file.stat().st_size
    start = size - image.count if image.offset is None else image.offset
    stored = size - start
    if image.encoding == "raw":
        if start < 0 or stored != image.count:
            raise _wrong_length(image, path, max(stored, 0) if start >= 0 else size)
        check_memory(path, image.count)
    else:
        check_unpacked(path, stored, image.count)
    with image.file.open("rb") as file:
        file.seek(start)
        data: bytes | bytearray = _READERS[image.encoding](file, image.count)
    if len(data) != image.count:
        raise _wrong_length(image, path, len(data))
    return np.frombuffer(data, image.dtype).reshape(image.shape)


def _wrong_length(image: RawImage, path: Path, found: int) -> MedleyError:
    how = "cut short" if found < image.count else "damaged"
    there = f"only {in_words(found)} are there" if found < image.count else "there are more"
    return MedleyError(f"{path}: its header announces {in_words(image.count)} of values, but {there}; it is {how}")


def _read_raw(file: IO[bytes], count: int) -> bytearray:
    data = bytearray(count)
    return data[: file.readinto(data)]  # type: ignore[attr-defined]


def _read_stream(stream: Any, count: int) -> bytes:
    """`count` bytes, or one more where there are more; otherwise the end is reached and the checksum is verified."""
    data = stream.read(count)
    return data + stream.read(1)


def _read_zlib(file: IO[bytes], count: int) -> bytes:
    stream = zlib.decompressobj(zlib.MAX_WBITS + 32)  # zlib or gzip
    data = stream.decompress(file.read(), count + 1)
    if len(data) <= count and not stream.eof:
        raise EOFError("the compressed data ends early")
    if stream.unused_data.strip(b"\0"):
        raise EOFError("other bytes follow the compressed data")
    return data


_READERS: dict[str, Callable[[IO[bytes], int], bytes | bytearray]] = {
    "raw": _read_raw,
    "zlib": _read_zlib,
    "gzip": lambda file, count: _read_stream(gzip.GzipFile(fileobj=file), count),
    "bzip2": lambda file, count: _read_stream(bz2.BZ2File(file), count),
}
