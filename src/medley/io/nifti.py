"""NIfTI <-> Volume, a slice at a time.

The array of a file is (i, j, k), where i changes fastest in memory and k is the slice axis; a volume is (slice, row,
column). So slice = k, row = j, column = i, and the columns of the affine are reversed accordingly.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

import nibabel as nib
import numpy as np

from medley.errors import MedleyError
from medley.geometry.orientation import check_square
from medley.io.inflate import inflate
from medley.io.nifti_header import HEAD_BYTES, PADDING, Header, Layout, is_header, parse_header
from medley.io.plausible import as_float32, check_grid
from medley.io.writing import Append, slices_to_write
from medley.runtime.atomic import replacing
from medley.runtime.guard import reading
from medley.runtime.limits import check_memory
from medley.volume import Slices, Volume

SUFFIXES = (".nii", ".nii.gz")
# (i, j, k, 1) <-> (slice, row, column, 1)
_REVERSED = [2, 1, 0, 3]

ReadAt = Callable[[int, int], bytes]  # (offset, count) -> bytes


@dataclass(frozen=True)
class NiftiSource:
    """What the writer needs of the file a volume was read from.

    Attributes
    ----------
    dtype: of the stored values.  slope, intercept: value = slope * stored value + intercept.
    affine: as read.  qform: (i, j, k, 1) -> RAS mm.  codes: of sform and qform (0: absent).
    paths: the file.
    """

    dtype: np.dtype
    slope: float
    intercept: float
    affine: np.ndarray
    qform: np.ndarray
    codes: tuple[int, int]
    paths: tuple[Path, ...]


def open_nifti(path: Path) -> Volume:
    """A NIfTI-1 or NIfTI-2 file as a volume whose slices are read during iteration.

    The sform is preferred to the qform. A compressed file is inflated once, here, into memory or a temporary file, and
    its checksum and length are verified. The modality is taken from a BIDS sidecar (NAME.json: Modality, Units) or from
    the description that medley writes.

    Raises
    ------
    MedleyError: not a NIfTI file, damaged, too large for memory or disk, not one greyscale volume, axes not at right
        angles, an impossible spacing, NaN or infinite values.
    """
    with reading(path, "NIfTI"):
        with path.open("rb") as file:
            start = file.read(HEAD_BYTES)
            packed = _is_packed(path, start)
            if packed:
                file.seek(0)
                content, (header, layout) = inflate(file, path, HEAD_BYTES, partial(_parse_with_end, path), PADDING)
            else:
                header, layout = parse_header(start, path)
                layout.check_size(path.stat().st_size, path)
        opened = (lambda: nullcontext(content.read)) if packed else partial(_open_plain, path)
        affine, qform, codes = header.affine[:, _REVERSED], header.qform, header.codes
        check_grid(affine, path)
        check_memory(path, layout.slice_bytes * 4, "one slice")
        shape = layout.shape[::-1]
        data = Slices((shape[0], shape[1], shape[2]), lambda: _read_slices(path, layout, opened))
        if layout.dtype.kind == "f" or (layout.slope, layout.intercept) != (1, 0):
            for _ in data:  # raises for NaN before any work is done on the scan
                pass
    source = NiftiSource(layout.dtype, layout.slope, layout.intercept, affine, qform, codes, (path,))
    return Volume(data, affine, *_meaning(path, header.description), source)


@contextmanager
def nifti_writer(
    volume: Volume,
    path: Path,
    *,
    derivation: str = "",
    dtype: str | None = None,
    overwrite: bool = False,
    mode: int = 0o777,
) -> Iterator[Append]:
    """Write a volume to `.nii` or `.nii.gz`, completely or not at all: call the given function with each slice.

    A volume that came from a NIfTI file of an integer type of up to 32 bits keeps type, slope and intercept (values are
    rounded, and clipped to the range of the type); every other becomes float32. sform and qform keep their codes.

    Parameters
    ----------
    volume: gives shape, affine, modality, unit and source; its values are not used.
    dtype: the type to store instead of the source's, such as "uint8": values as they are, without slope.
    mode: as of `replacing`.

    Raises
    ------
    MedleyError: the file exists and `overwrite` is False; it cannot be written; axes not at right angles.
    """
    check_square(volume.affine, path)
    source = volume.source if isinstance(volume.source, NiftiSource) else None
    header, stored, slope, intercept = _header(volume, source, derivation, dtype)
    with replacing(path, overwrite=overwrite, mode=mode) as temporary, _creating(temporary) as file:
        file.write(header.binaryblock + bytes(4))  # no extension follows
        # (row, column) in C order is (i, j) with i fastest.
        yield lambda values: _write(file, as_stored(values, stored, slope, intercept).tobytes())


def write_nifti(
    volume: Volume, path: Path, *, derivation: str = "", dtype: str | None = None, overwrite: bool = False
) -> Path:
    """Write all slices of a volume; parameters and errors as of `nifti_writer`."""
    with nifti_writer(volume, path, derivation=derivation, dtype=dtype, overwrite=overwrite) as append:
        for values in slices_to_write(volume.data):
            append(values)
    return path


def as_stored(values: np.ndarray, dtype: np.dtype, slope: float = 1.0, intercept: float = 0.0) -> np.ndarray:
    """Values as a file stores them: for integer types (value - intercept) / slope, rounded and clipped to the type."""
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    exact = np.rint((values.astype(np.float64) - intercept) / slope)
    return exact.clip(limits.min, limits.max).astype(dtype)


def _is_packed(path: Path, start: bytes) -> bool:
    """Whether a file is compressed; refuses one that is named like a plain file, and the reverse."""
    named, packed = path.name.lower().endswith(".gz"), start[:2] == b"\x1f\x8b"
    if packed and not named:
        raise MedleyError(f"{path}: is compressed with gzip; rename it to {path.name}.gz")
    if named and not packed and is_header(start):
        raise MedleyError(f"{path}: is not compressed with gzip; rename it to {path.name[:-3]}")
    return named


def _parse_with_end(path: Path, head: bytes) -> tuple[tuple[Header, Layout], int]:
    header, layout = parse_header(head, path)
    return (header, layout), layout.end


@contextmanager
def _open_plain(path: Path) -> Iterator[ReadAt]:
    with path.open("rb") as file:

        def read(offset: int, count: int) -> bytes:
            file.seek(offset)
            return file.read(count)

        yield read


def _read_slices(
    path: Path, layout: Layout, opened: Callable[[], AbstractContextManager[ReadAt]]
) -> Iterator[np.ndarray]:
    """The slices in order, (row, column) float32."""
    with opened() as read:
        for k in range(layout.shape[2]):
            with reading(path, "NIfTI"):
                raw = read(layout.offset + k * layout.slice_bytes, layout.slice_bytes)
                stored = np.frombuffer(raw, layout.dtype).reshape(layout.shape[1], layout.shape[0])
                if (layout.slope, layout.intercept) != (1, 0):
                    stored = stored * layout.slope + layout.intercept
                values = as_float32(stored, f"{path}: slice {k} (counted from 0)")
            yield values


def _header(
    volume: Volume, source: NiftiSource | None, derivation: str, wanted: str | None
) -> tuple[nib.Nifti1Header, np.dtype, float, float]:
    dtype, slope, intercept = np.dtype(wanted or "f4").newbyteorder("<"), 1.0, 0.0
    if source and not wanted and source.dtype.kind in "iu" and source.dtype.itemsize <= 4:
        dtype, slope, intercept = source.dtype.newbyteorder("<"), source.slope, source.intercept
    header = nib.Nifti1Header(endianness="<")
    header.set_data_shape(volume.shape[::-1])
    header.set_data_dtype(dtype)
    header.set_slope_inter(slope, intercept)
    header.set_xyzt_units("mm")
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    note = f"medley {volume.modality or '-'} {volume.unit or '-'}" + (f" | {derivation}" if derivation else "")
    header["descrip"] = note.encode("ascii", "replace")[:79]
    header.set_zooms(volume.spacing[::-1])
    affine = volume.affine[:, _REVERSED]
    same = source is not None and np.allclose(volume.affine, source.affine)
    s_code, q_code = source.codes if source else (1, 1)
    if not same and not (s_code or q_code):
        s_code = q_code = 1
    if q_code:
        header.set_qform(source.qform if source and same else affine, q_code)
    if s_code:
        header.set_sform(affine, s_code)
    return header, dtype, slope, intercept


@contextmanager
def _creating(path: Path) -> Iterator[IO[bytes]]:
    """A new file, compressed if its name ends in .gz, without time and name, so that equal scans give equal bytes."""
    with path.open("xb") as file:
        if path.suffix.lower() != ".gz":
            yield file
            return
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed:
            yield cast(IO[bytes], packed)


def _write(file: IO[bytes], data: bytes) -> None:
    file.write(data)


def _meaning(path: Path, description: bytes) -> tuple[str, str]:
    """(modality, unit) from a BIDS sidecar or from the description that medley writes; "" if neither states it."""
    sidecar = path.with_name(re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE) + ".json")
    if sidecar.is_file():
        with reading(sidecar, "JSON"):
            known = json.loads(sidecar.read_text(encoding="utf-8-sig"))
        modality = str(known.get("Modality", "")) if isinstance(known, dict) else ""
        if modality:
            suv = str(known.get("Units", "")).lower() in ("suv", "suvbw", "g/ml")
            return modality, {"CT": "HU", "MR": "a.u."}.get(modality, "SUV" if modality == "PT" and suv else "")
    note = re.match(rb"medley (\S+) (\S+)", description)
    if not note:
        return "", ""
    modality, unit = (word.decode("ascii", "replace").strip("-") for word in note.groups())
    return modality, unit
