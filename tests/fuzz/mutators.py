"""Changes that damage a file: flipped bits, cuts, extreme numbers in binary and in text, moved and repeated blocks."""

import io
import json
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

Mutator = Callable[[bytearray, np.random.Generator], bytearray]

_EXTREME = [
    *(struct.pack("<" + kind, value) for kind in "bhiq" for value in (0, -1, 1)),
    *(struct.pack("<h", value) for value in (0x7FFF, -0x8000, 255, 256)),
    *(struct.pack("<i", value) for value in (0x7FFFFFFF, -0x80000000, 0x00FFFFFF)),
    *(struct.pack("<f", value) for value in (np.nan, np.inf, -np.inf, 1e30, 1e-30, 0.0)),
    *(struct.pack("<d", value) for value in (np.nan, np.inf, 1e300, 1e-300)),
]
_TEXTS = [b"0", b"-1", b"nan", b"inf", b"1e300", b"1e-300", b"1e30", b"99999999999999999999", b"", b"x", b"'", b'"']
_INSERTED = [
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xe9",
    b"\n",
    b"=1+1",
    b"[" * 2000,
    b"{" * 2000,
    b"a: " * 1000,
    b",",
    b"\x1b[2J",
]

_VALUES = [None, True, 0, -1, 5, 1e30, -1e300, "", "x", "../../x", "1", [], ["x"], [5], {}, {"a": {"b": 1}}]
_NUMBERS = ["0", "-1", "1e30", "1e300", "1E-30", "99999999"]
_BY_TYPE: dict[str, list[Any]] = {
    "DS": _NUMBERS, "IS": ["0", "-1", "2147483647", "-2147483648", "999999"],
    "US": [0, 1, 255, 65535], "SS": [0, -1, 32767], "UL": [0, 1, 2**32 - 1],
    "FD": [0.0, -1.0, 1e300, float("nan"), float("inf")], "FL": [0.0, -1.0, 1e30, float("nan")],
    "CS": ["", "X", "PT", "RTDOSE", "YES"], "UI": ["", "1", "1.2." * 15 + "1"],
    "LO": ["", "../..", "x" * 64, "\\x1b[2J"], "PN": ["", "../..", "=="], "SH": ["", ".."],
    "DA": ["", "00000000", "99999999", "20240231"], "TM": ["", "999999", "235960.5"], "DT": ["", "99999999999999"],
}  # fmt: skip


def flip_one_bit(data: bytearray, rng: np.random.Generator) -> bytearray:
    """One bit anywhere."""
    bit = int(rng.integers(8 * len(data)))
    data[bit // 8] ^= 1 << bit % 8
    return data


def flip_bits(data: bytearray, rng: np.random.Generator) -> bytearray:
    """2 to 20 bits, mostly near the start, where headers are."""
    for _ in range(int(rng.integers(2, 20))):
        byte = int(len(data) * rng.random() ** 3)
        data[byte] ^= 1 << int(rng.integers(8))
    return data


def cut(data: bytearray, rng: np.random.Generator) -> bytearray:
    """The file ends early; sometimes at once."""
    return data[: int(len(data) * rng.random())]


def extreme_number(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A binary number is replaced by an extreme one, mostly near the start."""
    value = _EXTREME[rng.integers(len(_EXTREME))]
    start = int(max(1, len(data) - len(value)) * rng.random() ** 3)
    data[start : start + len(value)] = value
    return data


def extreme_text(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A number written as text is replaced, mostly near the start; without any, something is inserted."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data))
    if not found:
        return insert(data, rng)
    one = found[int(len(found) * rng.random() ** 3)]
    data[one.start() : one.end()] = _TEXTS[rng.integers(len(_TEXTS))]
    return data


def insert(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Bytes that confuse text readers, mostly near the start."""
    start = int((len(data) + 1) * rng.random() ** 3)
    data[start:start] = _INSERTED[rng.integers(len(_INSERTED))]
    return data


def repeat_block(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A block occurs twice."""
    start, end = sorted(rng.integers(len(data) + 1, size=2))
    data[end:end] = data[start:end]
    return data


def remove_block(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A short block is missing."""
    start = int(rng.integers(len(data)))
    del data[start : start + int(rng.integers(1, 64))]
    return data


def swap_blocks(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Two blocks of the same length change places."""
    length = int(rng.integers(1, max(2, min(64, len(data) // 3))))
    one, other = rng.integers(max(1, len(data) - length), size=2)
    data[one : one + length], data[other : other + length] = data[other : other + length], data[one : one + length]
    return data


def json_value(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A value anywhere in a JSON document is replaced by one of another type, removed, or made extreme."""
    try:
        document = json.loads(data)
    except ValueError:
        return text_value(data, rng)
    places = list(_places(document))
    if places:
        parent, key = places[rng.integers(len(places))]
        if rng.random() < 0.2:
            del parent[key]
        else:
            parent[key] = _VALUES[rng.integers(len(_VALUES))]
    return bytearray(json.dumps(document).encode())


def text_value(data: bytearray, rng: np.random.Generator) -> bytearray:
    """What follows a colon, an equals sign or a comma is replaced by something of another type."""
    found = list(re.finditer(rb"[:=,] *([^:=,\r\n]*)", data))
    if not found:
        return insert(data, rng)
    one = found[int(len(found) * rng.random() ** 3)]
    data[one.start(1) : one.end(1)] = json.dumps(_VALUES[rng.integers(len(_VALUES))]).encode()
    return data


def dicom_element(data: bytearray, rng: np.random.Generator) -> bytearray:
    """An element of a DICOM file is removed, emptied, or set to an extreme value that its type allows."""
    if data[128:132] != b"DICM":
        return extreme_number(data, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(io.BytesIO(data), force=True)
        places = [(one, element.tag) for one in _datasets(dataset) for element in one if element.keyword != "PixelData"]
        for _ in range(int(rng.integers(1, 3))):
            parent, tag = places[rng.integers(len(places))]
            _change(parent, tag, rng)
        written = io.BytesIO()
        try:
            dataset.save_as(written)
        except Exception:  # a combination that cannot be written is no file
            return extreme_number(data, rng)
    return bytearray(written.getvalue())


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of all values of a JSON document."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _datasets(dataset: Dataset) -> Iterator[Dataset]:
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _datasets(item)


def _change(dataset: Dataset, tag: BaseTag, rng: np.random.Generator) -> None:
    if tag not in dataset:
        return
    element, how = dataset[tag], rng.random()
    if how < 0.25:
        del dataset[tag]
    elif how < 0.4 or element.VR not in _BY_TYPE:
        element.value = [] if element.VR == "SQ" else None
    else:
        values = _BY_TYPE[element.VR]
        new = values[rng.integers(len(values))]
        element.value = [new] * element.VM if element.VM > 1 and rng.random() < 0.5 else new


MUTATORS: tuple[Mutator, ...] = (
    flip_one_bit, flip_one_bit, flip_bits, cut, extreme_number, extreme_text, extreme_text, insert, repeat_block,
    remove_block, swap_blocks, json_value, json_value, dicom_element, dicom_element,
)  # fmt: skip


def mutate(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """A damaged copy, and the name of the mutator."""
    chosen = MUTATORS[rng.integers(len(MUTATORS))]
    return bytes(chosen(bytearray(data), rng)), chosen.__name__
