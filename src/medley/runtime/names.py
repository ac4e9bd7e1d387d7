"""Names that come from data and become files: one check, one way to make a valid name, one way to use it as a path.

Record ids, targets, structures, recipe and method names are read from files that anyone may have written. A name such
as "..", "/etc/passwd" or "C:x" must never choose where something is written or removed.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import sha256
from pathlib import Path

from medley.errors import MedleyError

MAX_BYTES = 120  # in UTF-8; file systems allow 255, and we add suffixes and the prefixes of temporary files

_FORBIDDEN = set('/\\:<>"|?*')  # separators, drive letters, and what Windows does not allow
# Control characters, invisible formatting such as text direction marks, lone surrogates, line and paragraph separators.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}


def check_name(name: str, what: str) -> str:
    """The name unchanged, if it can be the name of a file or folder on every system.

    Parameters
    ----------
    what: the object that has the name, for the message, such as "the target" or "the record id".

    Raises
    ------
    MedleyError: not text, empty, "." or "..", a leading dot or dash, a separator or another character that paths give
        a meaning to, an invisible character, a space or dot at the end, more than `MAX_BYTES` bytes, or a name that
        Windows reserves for a device.
    """
    if problem := _problem(name):
        raise MedleyError(f"{what} {name!r} cannot be used as a file name: {problem}; rename it")
    return name


def safe_name(text: str) -> str:
    """A name that `check_name` accepts, made from any text: letters, digits, ".", "_" and "-", at least one character.

    Text that is valid already is returned unchanged, if it uses only these characters. Different texts can give the
    same name ("a b" and "a/b"); the caller must look for collisions.
    """
    name = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", text)).lstrip(".-").rstrip(".")
    if not name:
        name = "unnamed"
    if _is_reserved(name):
        name = f"_{name}"
    if len(name.encode()) > MAX_BYTES:
        digest = sha256(name.encode()).hexdigest()[:8]  # so that long names with a common start stay different
        name = f"{name.encode()[: MAX_BYTES - 9].decode(errors='ignore')}-{digest}"
    return name


def child(folder: Path, name: str, what: str = "the name") -> Path:
    """The path of a direct child of a folder, for a name that comes from data.

    Raises
    ------
    MedleyError: `check_name` refuses the name.
    """
    return folder / check_name(name, what)


def _problem(name: str) -> str | None:
    """The reason why a name cannot be a file name; None if it can."""
    if not isinstance(name, str):
        return f"expected text, found {type(name).__name__}"
    if not name:
        return "it is empty"
    if name in (".", ".."):
        return "it is the name of a folder"
    if name[0] in ".-":
        return f"it starts with {name[0]!r}"
    if name[0].isspace() or name[-1].isspace() or name[-1] == ".":
        return "it starts or ends with a space, or ends with a dot"
    if found := sorted(_FORBIDDEN & set(name)):
        return f"it contains {' '.join(found)}"
    if found := sorted({f"U+{ord(letter):04X}" for letter in name if unicodedata.category(letter) in _INVISIBLE}):
        return f"it contains the invisible character {found[0]}"
    if len(name.encode()) > MAX_BYTES:
        return f"it is longer than {MAX_BYTES} bytes"
    if _is_reserved(name):
        return "Windows reserves it for a device"
    return None


def _is_reserved(name: str) -> bool:
    return name.partition(".")[0].rstrip().upper() in _RESERVED
