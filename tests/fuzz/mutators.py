"""Changes that damage a file: flipped bits, cuts, extreme numbers in binary and in text, moved and repeated blocks."""

import re
import struct
from collections.abc import Callable

import numpy as np

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
    """A number written as text is replaced, or where there is none, something is inserted."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data))
    if not found:
        return insert(data, rng)
    one = found[rng.integers(len(found))]
    data[one.start() : one.end()] = _TEXTS[rng.integers(len(_TEXTS))]
    return data


def insert(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Bytes that confuse text readers."""
    start = int(rng.integers(len(data) + 1))
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


MUTATORS: tuple[Mutator, ...] = (
    flip_one_bit, flip_one_bit, flip_bits, cut, extreme_number, extreme_number, extreme_text, extreme_text, insert,
    repeat_block, remove_block, swap_blocks,
)  # fmt: skip


def mutate(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """A damaged copy, and the name of the mutator."""
    chosen = MUTATORS[rng.integers(len(MUTATORS))]
    return bytes(chosen(bytearray(data), rng)), chosen.__name__
