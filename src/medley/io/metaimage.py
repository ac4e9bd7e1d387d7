"""The header of a MetaImage file (.mha, or .mhd with its data beside): lines of `Key = Value`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medley.errors import MedleyError
from medley.io.raw_image import RawImage, beside, numbers, read_header, three_sizes

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip


def parse_metaimage(path: Path) -> RawImage:
    """The contents of a header.

    Raises
    ------
    MedleyError: not one greyscale volume, fields are missing or impossible, the data lies in another folder.
    OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        lines, end = read_header(path, file, b"ElementDataFile")
    fields: dict[str, str] = {}
    for line in lines:
        key, equals, value = line.partition("=")
        if equals:
            fields[key.strip()] = value.strip()

    def need(*keys: str) -> str:
        for key in keys:
            if key in fields:
                return fields[key]
        raise MedleyError(f"{path}: has no {keys[0]}; expected the header of a MetaImage file: it is damaged")

    def yes(*keys: str) -> bool:
        return any(fields.get(key, "False").lower() in ("true", "1") for key in keys)

    if fields.get("ObjectType", "Image") != "Image":
        raise MedleyError(f"{path}: holds the object {fields['ObjectType']!r}; expected an image")
    axes = numbers(need("NDims"), 1, "NDims", path)[0]
    shape = three_sizes(need("DimSize"), int(axes), "DimSize", path)
    if (channels := fields.get("ElementNumberOfChannels", "1")) != "1":
        raise MedleyError(f"{path}: has {channels} values for each voxel; expected one")
    if (kind := need("ElementType")) not in _TYPES:
        raise MedleyError(f"{path}: ElementType is {kind!r}; expected one real number for each voxel")
    if not yes("BinaryData"):
        raise MedleyError(f"{path}: stores its values as text; convert it to binary data first")
    if (unit := fields.get("DistanceUnits", "mm")) not in ("mm", "?"):
        raise MedleyError(f"{path}: DistanceUnits is {unit!r}; expected mm")
    order = ">" if yes("BinaryDataByteOrderMSB", "ElementByteOrderMSB") else "<"
    spacing = numbers(need("ElementSpacing", "ElementSize"), 3, "ElementSpacing", path)
    origin = next((fields[key] for key in ("Offset", "Position", "Origin") if key in fields), "0 0 0")
    # One line of the matrix is the direction of one axis, in the order column, row, slice.
    matrix = next((fields[key] for key in ("TransformMatrix", "Rotation", "Orientation") if key in fields), None)
    directions = np.eye(3) if matrix is None else np.reshape(numbers(matrix, 9, "TransformMatrix", path), (3, 3))
    affine = np.eye(4)
    with np.errstate(over="ignore", invalid="ignore"):  # impossible numbers are refused with the grid
        affine[:3, :3] = (directions.T * spacing)[:, ::-1]
    affine[:3, 3] = numbers(origin, 3, "Offset", path)
    where, offset = need("ElementDataFile"), int(numbers(fields.get("HeaderSize", "0"), 1, "HeaderSize", path)[0])
    local = where.upper() == "LOCAL"
    return RawImage(
        shape,
        np.dtype(order + _TYPES[kind]),
        affine,
        path if local else beside(path, where),
        end if local else None if offset == -1 else max(offset, 0),
        "zlib" if yes("CompressedData") else "raw",
        fields.get("medley", ""),
    )
