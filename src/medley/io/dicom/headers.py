"""Headers of DICOM files: is a file DICOM, its elements without the pixels, deflated files within limits."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medley.errors import MedleyError
from medley.runtime import guard
from medley.runtime.limits import check_unpacked

_SUFFIXES = {".dcm", ".dicom", ".ima"}
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_EXPLICIT = b"1.2.840.10008.1.2.1".ljust(len(_DEFLATED), b"\0")
_META_AT = 144  # the preamble, "DICM", and the element with the length of the other file meta elements
_CHUNK = 2**20


def reading(path: object) -> AbstractContextManager[None]:
    """The guard of `medley.runtime.guard` for code that looks up elements of a DICOM file."""
    return guard.reading(path, "DICOM")


def looks_like_dicom(path: Path) -> bool:
    """By name, or by the first bytes: the preamble, or a first element of group 2 or 8 where the preamble is missing.

    A file that cannot be opened counts as DICOM, so that reading it reports why.
    """
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return True
    return head[128:] == b"DICM" or head[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A DICOM file for reading. A deflated one is inflated first, in memory, and reads as one that is not compressed.

    Raises
    ------
    MedleyError: a deflated file is damaged or cut short, or exceeds the limits of `medley.runtime.limits`.
    """
    with path.open("rb") as file:
        head = file.read(_META_AT)
        length = int.from_bytes(head[140:144], "little") if head[128:138] == b"DICM\2\0\0\0UL" else 0
        meta = file.read(min(length, 2**16)) if length else b""
        at = meta.find(_DEFLATED)
        if at < 0:
            file.seek(0)
            yield file
            return
        content = io.BytesIO(head + meta.replace(_DEFLATED, _EXPLICIT))
        content.seek(0, io.SEEK_END)
        _inflate(file, content, path)
    content.seek(0)
    yield content


def read_header(path: Path, tags: list[str] | None = None) -> FileDataset:
    """The header of a DICOM file, all of it or some tags, without its pixels.

    Raises
    ------
    MedleyError: the file is not DICOM, or its header is damaged.
    """
    with reading(path), opened(path) as file:
        return header_in(file, path, tags)


def header_in(file: IO[bytes], path: Path, tags: list[str] | None = None) -> FileDataset:
    """As `read_header`, of a file from `opened`. The file is left at the element with the pixels, or at its end."""
    header = dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags)
    if not (header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")):
        raise MedleyError(f"{path}: is not a DICOM file, or its header is damaged (SOPClassUID is missing)")
    return header


def transfer_syntax(header: FileDataset) -> UID:
    """How a file is encoded. Files without file meta information are from before compression was defined."""
    if syntax := header.file_meta.get("TransferSyntaxUID"):
        return syntax
    implicit, little = header.original_encoding
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _inflate(file: IO[bytes], content: io.BytesIO, path: Path) -> None:
    """Append what follows in `file`. Deflate has an end mark but no checksum (PS3.5 A.5)."""
    packed, inflater = path.stat().st_size, zlib.decompressobj(-zlib.MAX_WBITS)
    while not inflater.eof and (chunk := inflater.unconsumed_tail or file.read(_CHUNK)):
        content.write(inflater.decompress(chunk, _CHUNK))
        check_unpacked(path, packed, content.tell())
    rest = inflater.unused_data + file.read(2)
    if not inflater.eof or len(rest) > 1 or rest.strip(b"\0"):
        raise MedleyError(f"{path}: its deflated content is damaged or cut short; copy it again")
