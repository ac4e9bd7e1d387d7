"""The headers of compressed frames: their rows, columns, components and bits, compared with those of DICOM.

Native decoders trust one of the two, and some write beyond their buffers if the two differ.
Sources: ISO/IEC 10918-1 (JPEG) B.2.2, ISO/IEC 14495-1 (JPEG-LS) C.2.2, ISO/IEC 15444-1 (JPEG 2000) A.5.1, and DICOM
PS3.5 annex G (RLE).
"""

from __future__ import annotations

import struct
from pathlib import Path

from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes, RLELossless

from medley.errors import MedleyError

_HTJ2K = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")
# Start of frame: baseline, extended, progressive, lossless (JPEG); JPEG-LS. 0xC4, 0xC8 and 0xCC mean something else.
_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}


def check_codestream(frame: bytes, syntax: str, size: tuple[int, int], stored: int, allocated: int, path: Path) -> None:
    """Refuse a compressed grey frame whose own header differs from the DICOM header.

    Parameters
    ----------
    frame: the compressed bytes.  syntax: the transfer syntax UID; one that is not known passes unchecked.
    size: Rows, Columns.  stored, allocated: BitsStored, BitsAllocated.

    Raises
    ------
    MedleyError: another size, several components, more bits than fit, or no such header.
    """
    if syntax == RLELossless:
        _check_rle(frame, allocated, path)
        return
    if syntax in JPEG2000TransferSyntaxes or syntax in _HTJ2K:
        kind, found = "JPEG 2000", _jpeg2000(frame)
    elif syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes:
        kind, found = "JPEG", _jpeg(frame)
    else:
        return
    if found is None:
        raise MedleyError(f"{path}: holds a frame that is not {kind}, as its transfer syntax says; it is damaged")
    rows, columns, components, bits = found
    if (rows, columns) != size or components != 1:
        raise MedleyError(
            f"{path}: holds a {kind} frame of {rows} x {columns} with {components} components, but its header says "
            f"{size[0]} x {size[1]} with one; it is damaged"
        )
    if not 1 <= bits <= allocated:
        raise MedleyError(
            f"{path}: holds a {kind} frame of {bits} bits, but its header says BitsAllocated {allocated} and "
            f"BitsStored {stored}; it is damaged"
        )


def _jpeg(frame: bytes) -> tuple[int, int, int, int] | None:
    """Rows, columns, components, bits of the frame header of JPEG or JPEG-LS; None where there is none."""
    if frame[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker in _FRAME_MARKERS:
            if at + 10 > len(frame):
                return None
            bits, rows, columns, components = struct.unpack(">BHHB", frame[at + 4 : at + 10])
            return rows, columns, components, bits
        else:
            at += 2 + max(2, int.from_bytes(frame[at + 2 : at + 4], "big"))
    return None


def _jpeg2000(frame: bytes) -> tuple[int, int, int, int] | None:
    """As `_jpeg`, from the marker SIZ; a JP2 file around the codestream is skipped."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 2**16)
    if start < 0 or start + 43 > len(frame):
        return None
    siz = struct.unpack(">HHIIIIIIIIHB", frame[start + 4 : start + 4 + 39])
    width, height, left, top, components, bits = siz[2] - siz[4], siz[3] - siz[5], siz[4], siz[5], siz[10], siz[11]
    if left or top:
        return None
    return height, width, components, (bits & 0x7F) + 1


def _check_rle(frame: bytes, allocated: int, path: Path) -> None:
    if len(frame) >= 64:
        count, *offsets = struct.unpack("<16I", frame[:64])
        used = offsets[: min(count, 15)]
        if count == allocated // 8 and used[0] == 64 and used == sorted(used) and used[-1] <= len(frame):
            return
    raise MedleyError(
        f"{path}: holds a frame whose RLE header does not fit BitsAllocated {allocated}; the file is damaged"
    )
