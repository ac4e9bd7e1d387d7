"""The guard around every reader: whatever a library raises on a bad file becomes one clear `MedleyError`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from medley.errors import MedleyError, MedleyNotice
from medley.runtime.atomic import one_line


@contextmanager
def reading(path: object, what: str) -> Iterator[None]:
    """Run the code that reads a file: library warnings are suppressed, and every exception becomes a `MedleyError`.

    `MedleyError` passes unchanged, as do exceptions that are not an `Exception` (KeyboardInterrupt, GeneratorExit).
    A generator should yield outside of this context, since the warnings of its consumer would be suppressed as well.

    Parameters
    ----------
    path: the file, as the message calls it.
    what: the expected content with the article it needs, such as "NIfTI", "a DICOM file", "JSON".

    Raises
    ------
    MedleyError: "PATH: does not exist", "PATH: cannot be opened (...)", or "PATH: cannot be read as WHAT, ...".
    """
    try:
        with without_warnings():
            yield
    except MedleyError:
        raise
    except FileNotFoundError as error:
        raise MedleyError(f"{path}: does not exist") from error
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise MedleyError(f"{path}: cannot be opened ({error.strerror or one_line(error)})") from error
    except MemoryError as error:
        raise MedleyError(f"{path}: needs more memory than is free; close other programs") from error
    except RecursionError as error:
        raise MedleyError(f"{path}: cannot be read as {what}, it is nested too deeply") from error
    except Exception as error:
        raise MedleyError(
            f"{path}: cannot be read as {what}, it is broken or cut short ({one_line(error)}); copy or export it again"
        ) from error


class _Silence:
    """Suppresses all warnings but `MedleyNotice` while any thread is inside.

    The filters of `warnings` are shared by all threads, so the first thread to enter sets them and the last to leave
    restores them.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._saved = warnings.catch_warnings()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.simplefilter("ignore")
                warnings.simplefilter("always", MedleyNotice)
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    self._saved.__exit__(None, None, None)


without_warnings = _Silence()
