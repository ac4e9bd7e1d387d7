"""Numpy arrays in pickle files, read without running anything that the file names.

A pickle is a program: it may name any function of any module and call it. Here the few names that numpy writes for an
array stand for functions of this module, which keep bytes, a shape and a type; every other name is refused before
anything is imported or called.
"""

from __future__ import annotations

import pickle
import re
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from medley.errors import MedleyError
from medley.runtime.guard import reading
from medley.runtime.limits import check_memory

_NUMBERS = re.compile(r"([<>=|]?)([biufc])(\d{1,2})")  # "f4", "<u2": booleans and numbers only


def read_pickled_array(path: Path) -> np.ndarray:
    """The array in a pickle of one numpy array, of any protocol and of numpy 1 or 2.

    Raises
    ------
    MedleyError: the file names anything but a numpy array (nothing of it is executed), contains something else, is
        damaged, or has a type other than numbers or more values than bytes.
    """
    with reading(path, "a pickle of a numpy array"):
        check_memory(path, 2 * path.stat().st_size)
        found = _ArraysOnly(path).load()
        if not isinstance(found, _Array):
            raise MedleyError(f"{path}: is a pickle of a {type(found).__name__}, expected one numpy array")
        return found.array()


class _ArraysOnly(pickle.Unpickler):
    """An unpickler in which a file can name the parts of a numpy array only."""

    def __init__(self, path: Path) -> None:
        super().__init__(BytesIO(path.read_bytes()), encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of a name of numpy; no module is imported."""
        known = {
            ("numpy", "ndarray"): "ndarray",  # passed to _reconstruct, which ignores it
            ("numpy", "dtype"): _Type,
            ("_codecs", "encode"): _encode,  # bytes in protocols 0 to 2
            **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
            **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
        }
        if (module, name) not in known:
            raise MedleyError(
                f"{self._path}: names {module}.{name}, which a numpy array does not need, so it might run a program; "
                "it was refused and nothing was executed. Do not open it with other software unless you trust its "
                "source"
            )
        return known[module, name]

    def persistent_load(self, identifier: Any) -> Any:
        """References to objects outside of the file do not occur in arrays."""
        raise MedleyError(f"{self._path}: refers to an object outside of the file; expected one numpy array")


class _Type:
    """The type of an array: what a pickle passes to numpy.dtype, and the byte order that follows."""

    __slots__ = ("dtype",)

    def __init__(self, name: str, *_: Any) -> None:
        match = _NUMBERS.fullmatch(name) if isinstance(name, str) else None
        if not match:
            raise ValueError(f"the type {name!r:.40} is not a number")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        self.dtype = self.dtype.newbyteorder(order if order in ("<", ">") else "=")


class _Array:
    """The bytes, shape and type of an array."""

    __slots__ = ("_content", "_fortran", "_kind", "_shape")

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        self._keep(content, kind, shape, bool(fortran))

    def _keep(self, content: Any, kind: Any, shape: Any, fortran: bool) -> None:
        content = content.encode("latin1") if isinstance(content, str) else content  # a pickle of Python 2
        if not isinstance(content, (bytes, bytearray)) or not isinstance(kind, _Type) or not isinstance(shape, tuple):
            raise ValueError("the array has no bytes, no shape or no type")
        if not all(isinstance(n, int) and n > 0 for n in shape) or prod(shape) * kind.dtype.itemsize != len(content):
            raise ValueError(f"{len(content)} bytes are not an array {shape!r:.60} of {kind.dtype}")
        self._content, self._kind, self._shape, self._fortran = content, kind, shape, fortran

    def array(self) -> np.ndarray:
        """The array, in the byte order of this computer."""
        order = "F" if self._fortran else "C"
        flat = np.frombuffer(self._content, self._kind.dtype)
        return flat.reshape(self._shape, order=order).astype(self._kind.dtype.newbyteorder("="))  # type: ignore[call-overload]


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any = "C", *_: Any) -> _Array:
    made = _Array()
    made._keep(content, kind, shape, order == "F")
    return made


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1" or not isinstance(text, str):
        raise ValueError("the bytes of the array are not stored as numpy stores them")
    return text.encode("latin1")
