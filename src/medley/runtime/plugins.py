"""Plugins: Python files of the user that add entries to the tables of medley (docs/extending.md).

A plugin is a program: it is run only when the user names it, in a recipe, on the command line or in Python. Files with
weights and checkpoints name the plugins that they were trained with, but never cause one to be run.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from medley.errors import MedleyError
from medley.runtime.registry import registered, remove_registered

_loaded: dict[Path, str] = {}  # absolute path -> "NAME#checksum"


def load_plugins(files: Iterable[str | Path]) -> list[str]:
    """Run each file, unless this process has run it before, and return "NAME#checksum" of each, for records.

    A file that fails adds nothing to the tables.

    Raises
    ------
    MedleyError: a file cannot be read, is not valid Python, raises an exception, or registers nothing.
    """
    return [_load(Path(file)) for file in files]


def _load(file: Path) -> str:
    path = file.resolve()
    if path in _loaded:
        return _loaded[path]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MedleyError(f"the plugin {file} cannot be read: {error.strerror or error}") from error
    before = registered()
    module = ModuleType(f"medley_plugin_{sha256(bytes(path)).hexdigest()[:8]}_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and pickle look for it
    try:
        _run(content, file, module)
        if registered() == before:
            raise MedleyError(
                f"the plugin {file} registers nothing; expected a call such as NETWORKS.register(name, entry), see "
                f"docs/extending.md"
            )
    except BaseException:
        remove_registered(before)
        del sys.modules[module.__name__]
        raise
    _loaded[path] = f"{path.name}#{sha256(content).hexdigest()[:8]}"
    return _loaded[path]


def _run(content: bytes, file: Path, module: ModuleType) -> None:
    try:
        exec(compile(content, str(module.__file__), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        kind = "" if isinstance(error, MedleyError) else f"{type(error).__name__}: "
        text = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
        raise MedleyError(f"the plugin {file}{_line(error, module)}: {kind}{text}") from error


def _line(error: BaseException, module: ModuleType) -> str:
    """The last line of the plugin that led to the error, for a message."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == module.__file__]
    if isinstance(error, SyntaxError) and error.filename == module.__file__:
        lines.append(error.lineno)
    return f", line {lines[-1]}" if lines and lines[-1] else ""
