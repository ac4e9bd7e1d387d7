"""Written whole or not at all: everything goes to a temporary sibling first and takes its name only when complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import numpy as np

from medley.errors import MedleyError
from medley.volume import Slices


@contextmanager
def replacing(path: Path, *, folder: bool = False, overwrite: bool = False) -> Iterator[Path]:
    """Give the path of a temporary sibling of `path`, to be made a file (or a `folder`); it becomes `path` at the end.

    On any exception (also Ctrl-C) the sibling and the parent folders made for it are removed and what was at `path`
    is as it was. An empty folder at `path` counts as nothing.

    Raises
    ------
    MedleyError: `path` exists and `overwrite` is False, or it is the other kind of thing; the system refuses to write
        (disk full, no permission).
    """
    if path.exists() and path.is_dir() != folder:
        raise MedleyError(f"{path}: is a {'file' if folder else 'folder'} already; choose another name")
    if path.exists() and not overwrite and not _is_empty_folder(path):
        raise MedleyError(f"{path}: exists already; choose another name or allow it to be overwritten")
    new_parents = [parent for parent in path.absolute().parents if not parent.exists()]
    # The suffix stays at the end: libraries choose the format by it.
    temporary = path.with_name(f".part-{uuid4().hex[:8]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _move(temporary, path)
    except BaseException as error:
        _remove(temporary)
        for parent in new_parents:
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError):
            raise MedleyError(f"{path}: could not be written: {_reason(error)}") from error
        raise


def slices_to_write(data: np.ndarray | Slices) -> Iterator[np.ndarray]:
    """The slices of a volume, once and in order, each (row, column).

    Raises
    ------
    MedleyError: a value is NaN or infinite, which no format of a scan can hold.
    ValueError: fewer or more slices, or of another size, than `data.shape` says.
    """
    count = -1
    for count, values in enumerate(data):
        if values.shape != data.shape[1:]:
            raise ValueError(f"slice {count} has shape {values.shape}, but the volume has {data.shape}")
        if not np.isfinite(values).all():
            raise MedleyError(f"slice {count} (counted from 0) holds NaN or infinite values; nothing was written")
        yield values
    if count + 1 != data.shape[0]:
        raise ValueError(f"{count + 1} slices came, but the volume has shape {data.shape}")


def _reason(error: BaseException) -> str:
    """What the system said; libraries wrap it into errors of their own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return one_line(error)


def one_line(error: BaseException) -> str:
    """What a library says, for the brackets at the end of our sentence: its last line, which tells the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _move(temporary: Path, path: Path) -> None:
    if not path.is_dir():
        os.replace(temporary, path)
        return
    # A folder cannot be replaced in one step: the old one steps aside, and back if the new one cannot come.
    aside = path.with_name(f".old-{uuid4().hex[:8]}-{path.name}")
    os.replace(path, aside)
    try:
        os.replace(temporary, path)
    except BaseException:
        os.replace(aside, path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
