"""The header of an NRRD file (.nrrd, or .nhdr with its data beside): lines of `field: value` and `key:=value`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from medley.errors import MedleyError
from medley.io.raw_image import RawImage, beside, numbers, read_header, three_sizes

_NAMES = {
    "i1": "signed char, int8, int8_t", "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t", "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float", "f8": "double",
}  # fmt: skip
_TYPES = {name: code for code, names in _NAMES.items() for name in names.split(", ")}
_ENCODINGS = {"raw": "raw", "gz": "gzip", "gzip": "gzip", "bz2": "bzip2", "bzip2": "bzip2"}
# The signs that turn a space into DICOM's left-posterior-superior.
_TO_LPS = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1), "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip


def parse_nrrd(path: Path) -> RawImage:
    """The contents of a header.

    Raises
    ------
    MedleyError: not one greyscale volume, fields are missing or impossible, the data lies in another folder.
    OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        lines, end = read_header(path, file, b"")
    if not lines or not re.fullmatch(r"NRRD000[1-5]", lines[0]):
        raise MedleyError(f"{path}: cannot be read as NRRD: it does not begin with NRRD0001 to NRRD0005")
    fields, notes = _fields(lines[1:])

    def need(key: str) -> str:
        if key not in fields:
            raise MedleyError(f"{path}: has no {key!r}; expected the header of an NRRD file: it is damaged")
        return fields[key]

    axes = int(numbers(need("dimension"), 1, "dimension", path)[0])
    if axes == 4:
        first = need("sizes").split()[0]
        raise MedleyError(f"{path}: has 4 axes, or {first} values for each voxel; expected one volume of three axes")
    shape = three_sizes(need("sizes"), axes, "sizes", path)
    if (kind := need("type").lower()) not in _TYPES:
        raise MedleyError(f"{path}: its type is {kind!r}; expected one real number for each voxel")
    if (encoding := need("encoding").lower()) not in _ENCODINGS:
        raise MedleyError(f"{path}: its encoding is {encoding!r}; expected raw, gzip or bzip2: convert it first")
    code = _TYPES[kind]
    endian = fields.get("endian", "little" if code.endswith("1") else "").lower()
    if endian not in ("little", "big"):
        raise MedleyError(f"{path}: its endian is {endian!r}; expected little or big")
    for key in ("line skip", "lineskip", "byte skip", "byteskip"):
        if fields.get(key, "0") != "0":
            raise MedleyError(f"{path}: has a {key} of {fields[key]}; expected values that follow the header at once")
    where = fields.get("data file", fields.get("datafile"))
    return RawImage(
        shape,
        np.dtype(("<" if endian == "little" else ">") + code),
        _affine(fields, path),
        path if where is None else beside(path, where),
        end if where is None else 0,
        _ENCODINGS[encoding],
        notes.get("medley", ""),
    )


def _fields(lines: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The fields of the format, and the notes that programs added."""
    fields, notes = {}, {}
    for line in lines:
        if line.startswith("#"):
            continue
        note, field = line.find(":="), line.find(": ")
        if note >= 0 and (field < 0 or note < field):
            notes[line[:note].strip()] = line[note + 2 :].strip()
        elif field >= 0:
            fields[line[:field].strip().lower()] = line[field + 2 :].strip()
    return fields, notes


def _affine(fields: dict[str, str], path: Path) -> np.ndarray:
    """(slice, row, column, 1) -> LPS mm."""
    affine = np.eye(4)
    if units := set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) - {"mm", ""}:
        raise MedleyError(f"{path}: its space units are {', '.join(sorted(units))}; expected mm")
    space = fields.get("space", "").lower()
    if not space:
        if "space directions" in fields or "axis mins" in fields or "axismins" in fields:
            raise MedleyError(f"{path}: places its voxels in an unknown space; expected a field 'space' such as 'RAS'")
        spacing = numbers(fields.get("spacings", "1 1 1"), 3, "spacings", path)
        affine[:3, :3] = np.diag(spacing)[:, ::-1]
        return affine
    if space not in _TO_LPS:
        raise MedleyError(f"{path}: its space is {space!r}; expected {', '.join(one for one in _TO_LPS if '-' in one)}")
    signs = np.array(_TO_LPS[space])[:, None]
    directions = numbers(fields.get("space directions", ""), 9, "space directions", path)
    # One vector for each axis, in the order column, row, slice.
    affine[:3, :3] = (signs * np.reshape(directions, (3, 3)).T)[:, ::-1]
    origin = numbers(fields.get("space origin", "0 0 0"), 3, "space origin", path)
    affine[:3, 3] = signs[:, 0] * origin
    return affine
