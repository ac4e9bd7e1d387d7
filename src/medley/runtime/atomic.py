"""Files and folders are written completely or not at all: in a hidden folder first, then renamed in one step."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from medley.errors import MedleyError, MedleyNotice
from medley.runtime.processes import TOKEN, owner_is_dead, owner_token

# Libraries that are not written in Python raise their own errors if the system refuses to write.
_REFUSED = re.compile(r"\(os error \d+\)|No space left on device")  # safetensors, zarr's codecs
_TORCH = re.compile(r"inline_container\.cc|PytorchStreamWriter")  # does not say the reason
_SYNCHRONISED_AT_ONCE = 16
_tidied: set[Path] = set()  # folders in which this process has looked for leftovers


@contextmanager
def replacing(path: Path, *, folder: bool = False, overwrite: bool = False, mode: int = 0o777) -> Iterator[Path]:
    """Give a temporary path of the same name, to be made a file (or a `folder`); at the end it is moved to `path`.

    On any exception (also Ctrl-C) the temporary file and the parent folders made for it are removed and what was at
    `path` is unchanged. The data is on the disk before it is moved (fsync). An empty folder at `path` counts as
    nothing. If several processes write one path without `overwrite`, only the first to finish succeeds.

    Parameters
    ----------
    mode: the result has at most these permissions, see `mode_of`. They are those of the umask otherwise.

    Raises
    ------
    MedleyError: `path` exists and `overwrite` is False, or it is the other kind of thing; the system refuses to write
        (disk full, no permission).
    """
    new_parents = [parent for parent in path.absolute().parents if not parent.exists()]
    # A hidden sibling on the same disk, readable only by the user. Libraries choose the format by the name.
    place = path.parent / f".part-{owner_token()}-{uuid4().hex[:8]}"
    try:
        with writing(path):
            remove_leftovers(path.parent)
            _check(path, folder, overwrite)
            path.parent.mkdir(parents=True, exist_ok=True)
            place.mkdir(mode=0o700)
            yield place / path.name
            _store(place / path.name, mode)
            _move(place / path.name, path, overwrite)
            _synchronise(path.parent)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        for parent in new_parents:
            with suppress(OSError):
                parent.rmdir()
        raise
    shutil.rmtree(place, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the system or a library in writing `path` into one sentence.

    Raises
    ------
    MedleyError: the disk is full, a quota or size limit is reached, there is no permission, the device fails.
    """
    try:
        yield
    except MedleyError:
        raise
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise MedleyError(f"{path}: could not be written: {reason}") from error


def mode_of(path: Path) -> int:
    """The permissions that all files at a path (a file, or the files of a folder) have, for the `mode` of `replacing`.

    A scan that only its owner may read must not become a result that everybody may read.
    """
    mode = 0o777
    for one in [path] if path.is_file() else [one for one in path.iterdir() if one.is_file()]:
        mode &= stat.S_IMODE(one.stat().st_mode)
    return mode


def remove_leftovers(folder: Path) -> None:
    """Remove unfinished files of killed processes from a folder; done once for each folder and process.

    A folder that was being replaced is put back, with a `MedleyNotice`.
    """
    if folder.absolute() in _tidied or not folder.is_dir():
        return
    _tidied.add(folder.absolute())
    for one in os.scandir(folder):
        match = re.fullmatch(rf"\.(part|old)-({TOKEN})-[0-9a-f]{{8}}", one.name)
        if not match or not owner_is_dead(match[2]) or not one.is_dir(follow_symlinks=False):
            continue
        for back in _put_back(Path(one.path), folder) if match[1] == "old" else ():
            text = f"{back}: was put back, because the process that was replacing it was killed"
            warnings.warn(text, MedleyNotice, stacklevel=2)
        shutil.rmtree(one.path, ignore_errors=True)


def _reason(error: BaseException) -> str | None:
    """The reason for which the system refused to write; None for any other error."""
    if isinstance(error, BaseExceptionGroup):
        return next((reason for one in error.exceptions if (reason := _reason(one))), None)
    if _TORCH.search(str(error)):
        return "the disk is full, or a quota or a limit on the size of files is reached"
    if not isinstance(error, OSError) and not isinstance(error.__cause__, OSError) and not _REFUSED.search(str(error)):
        return None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return one_line(error)


def one_line(error: BaseException) -> str:
    """The message of a library's exception in one line: its last line, which states the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _check(path: Path, folder: bool, overwrite: bool) -> None:
    if path.exists() and path.is_dir() != folder:
        raise MedleyError(f"{path}: is a {'file' if folder else 'folder'} already; choose another name")
    if path.exists() and not overwrite and not (path.is_dir() and not any(path.iterdir())):
        raise _exists_already(path)


def _exists_already(path: Path) -> MedleyError:
    return MedleyError(f"{path}: exists already; choose another name or allow it to be overwritten")


def _move(temporary: Path, path: Path, overwrite: bool) -> None:
    if overwrite and path.is_dir():
        _exchange(temporary, path)
    elif overwrite:
        os.replace(temporary, path)
    else:
        try:
            _move_exclusively(temporary, path)
        except OSError as error:
            # Another process was faster than this one after our first look.
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR):
                raise _exists_already(path) from error
            raise


def _move_exclusively(temporary: Path, path: Path) -> None:
    """Give the temporary file or folder its name, unless something other than an empty folder has the name.

    Raises
    ------
    OSError: the name is taken (EEXIST, ENOTEMPTY, ENOTDIR, EISDIR), or anything else.
    """
    if temporary.is_dir():
        if os.name != "posix" and path.is_dir():
            path.rmdir()
        os.rename(temporary, path)  # POSIX: replaces an empty folder and refuses any other
        return
    try:
        os.link(temporary, path)  # unlike a rename it refuses an existing name
    except FileExistsError:
        raise
    except OSError:  # a file system without links: claim the name with an empty file, then replace that
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            os.replace(temporary, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _exchange(temporary: Path, path: Path) -> None:
    """A folder cannot be replaced in one step: the old one is moved away, and back if the new one cannot be moved."""
    aside = path.parent / f".old-{owner_token()}-{uuid4().hex[:8]}"
    aside.mkdir(mode=0o700)
    try:
        os.replace(path, aside / path.name)
        os.replace(temporary, path)
    except BaseException:
        _put_back(aside, path.parent)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _put_back(aside: Path, folder: Path) -> list[Path]:
    """Move a folder that was moved away back, where nothing took its place."""
    back = []
    for one in list(aside.iterdir()):
        if not (folder / one.name).exists():
            with suppress(FileNotFoundError):  # another process did it at the same time
                os.replace(one, folder / one.name)
                back.append(folder / one.name)
    return back


def _store(path: Path, mode: int) -> None:
    """Limit the permissions of a file, or of all in a folder, and see that the data is on the disk."""
    everything = [path, *(path.rglob("*") if path.is_dir() else ())]
    for one in everything:
        if os.name == "posix" and not one.is_symlink():
            now = stat.S_IMODE(one.stat().st_mode)
            # The owner may always read and write; who may read a folder may also enter it.
            allowed = mode | ((mode & 0o444) >> 2 | 0o7700 if one.is_dir() else 0o7600)
            if now & ~allowed:
                one.chmod(now & allowed)
    with ThreadPoolExecutor(_SYNCHRONISED_AT_ONCE) as pool:  # the system can write many files in one go
        list(pool.map(_synchronise, everything))


def _synchronise(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    if os.name != "posix" and path.is_dir():
        return  # Windows has no handle for this
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):  # a file system without fsync
            raise
    finally:
        os.close(handle)
