"""A gzip file inflated once: verified to its end, limited in size, and kept for random access."""

from __future__ import annotations

import gzip
import io
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import IO, TypeVar, cast

from medley.errors import MedleyError
from medley.runtime.limits import check_unpacked, in_words

Header = TypeVar("Header")
_IN_MEMORY = 16 * 2**20  # larger contents go to a temporary file
_CHUNK = 2**20


class Inflated:
    """The content of a gzip file. Threads may read it at the same time.

    Larger contents are in a temporary file without a name (on POSIX), so that nothing is left if the process is killed.
    """

    def __init__(self, size: int) -> None:
        self._file = cast(IO[bytes], io.BytesIO() if size <= _IN_MEMORY else tempfile.TemporaryFile())  # noqa: SIM115
        self._lock = Lock()
        weakref.finalize(self, self._file.close)

    def write(self, data: bytes) -> None:
        """Append to the content."""
        self._file.write(data)

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`, or fewer at the end."""
        with self._lock:
            self._file.seek(offset)
            return self._file.read(count)


def inflate(
    file: IO[bytes], path: Path, head: int, parse: Callable[[bytes], tuple[Header, int]], padding: int
) -> tuple[Inflated, Header]:
    """Inflate a gzip file whose content begins with a header that states its length.

    Parameters
    ----------
    file: the open file, at its start; it is read to its end.  path: its path, for messages.
    head: how many bytes `parse` needs; it returns what it found and the expected length of the content in bytes.
    padding: how many bytes the content may be longer.

    Raises
    ------
    MedleyError: the content is shorter or longer, or it exceeds the limits of `medley.runtime.limits`.
    OSError, EOFError, zlib.error: the file is damaged: wrong checksum, cut short, or bytes after its end.
    """
    with gzip.GzipFile(fileobj=file) as packed:
        begin = packed.read(head)
        header, length = parse(begin)
        check_unpacked(path, path.stat().st_size, length, Path(tempfile.gettempdir()))
        content, size = Inflated(length), len(begin)
        content.write(begin)
        while chunk := packed.read(min(_CHUNK, max(1, length + padding + 1 - size))):
            size += len(chunk)
            if size > length + padding:
                raise MedleyError(
                    f"{path}: holds more than the {in_words(length)} that its header announces; its header is damaged"
                )
            content.write(chunk)
    if size < length:
        raise MedleyError(
            f"{path}: is cut short: its header announces {in_words(length)}, it holds {in_words(size)}; copy it again"
        )
    return content, header
