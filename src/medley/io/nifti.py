"""NIfTI <-> Volume, a slice at a time.

The file's array is (i, j, k) with i growing fastest and k the slice axis; a volume is (slice, row, column), so
slice = k, row = j, column = i, and the columns of the affine turn with them.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np

from medley.errors import MedleyError
from medley.geometry.orientation import check_square
from medley.runtime.atomic import one_line, replacing, slices_to_write
from medley.volume import Slices, Volume

SUFFIXES = (".nii", ".nii.gz")
# (i, j, k, 1) <-> (slice, row, column, 1)
_TURN = [2, 1, 0, 3]
# mm of one unit of length, by its code in the header (0: not said, 1: metre, 2: mm, 3: micrometre).
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_UNREADABLE = (
    OSError,
    EOFError,
    zlib.error,
    ValueError,
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
)


@dataclass(frozen=True)
class NiftiSource:
    """What the writer needs of the file a volume was read from.

    Attributes
    ----------
    dtype: of the stored values.  slope, intercept: stored value -> value.
    affine: as read.  qform: (i, j, k, 1) -> RAS mm.  codes: of sform and qform.
    """

    dtype: np.dtype
    slope: float
    intercept: float
    affine: np.ndarray
    qform: np.ndarray
    codes: tuple[int, int]


def open_nifti(path: Path) -> Volume:
    """A NIfTI file as a volume whose slices are read when they are asked for; the sform counts, else the qform.

    The modality is taken from a BIDS sidecar (NAME.json: Modality, Units) or from the note of a file medley wrote.

    Raises
    ------
    MedleyError: not a NIfTI file, not one greyscale volume, axes not at right angles, NaN or infinite values.
    """
    with _readable(path):
        image = cast(nib.Nifti1Image, nib.load(path))
        header = image.header
        if not isinstance(header, nib.Nifti1Header):
            raise MedleyError(f"{path}: is not a NIfTI file ({type(header).__name__})")
    dtype = image.get_data_dtype()
    if dtype.kind not in "iuf":
        raise MedleyError(f"{path}: stores {dtype} values (complex or colour); expected one real number for each voxel")
    shape = (*image.shape, 1, 1)
    if len(image.shape) < 2 or any(n != 1 for n in shape[3:]) or 0 in shape:
        raise MedleyError(f"{path}: has the shape {image.shape}; expected one volume of three axes: split it first")
    unit_mm = _MM.get(int(header["xyzt_units"]) & 7)
    if unit_mm is None:
        raise MedleyError(
            f"{path}: xyzt_units is {int(header['xyzt_units'])}; expected lengths in mm, m or micrometres"
        )
    to_mm = np.diag([unit_mm, unit_mm, unit_mm, 1])
    affine = (to_mm @ image.affine)[:, _TURN]
    check_square(affine, path)
    codes = (int(header["sform_code"]), int(header["qform_code"]))
    proxy = cast(Any, image.dataobj)
    source = NiftiSource(dtype, proxy.slope, proxy.inter, affine, to_mm @ header.get_qform(), codes)
    data = Slices((shape[2], shape[1], shape[0]), lambda: _read_slices(path))
    _check_values(path, data, dtype, proxy)
    return Volume(data, affine, *_meaning(path, header), source)


def write_nifti(
    volume: Volume, path: Path, *, derivation: str = "", dtype: str | None = None, overwrite: bool = False
) -> Path:
    """Write a volume to `.nii` or `.nii.gz`, a slice at a time, whole or not at all.

    A volume that came from a NIfTI file of an integer type keeps type, slope and intercept (values are rounded, and
    clipped to what the type holds); every other becomes float32. sform and qform keep their codes.

    Parameters
    ----------
    dtype: the type to store, such as "uint8", where it shall not be the source's: values as they are, without slope.

    Raises
    ------
    MedleyError: the file exists and `overwrite` is False; it cannot be written; axes not at right angles.
    """
    check_square(volume.affine, path)
    source = volume.source if isinstance(volume.source, NiftiSource) else None
    header, stored, slope, intercept = _header(volume, source, derivation, dtype)
    with replacing(path, overwrite=overwrite) as temporary, _creating(temporary) as file:
        file.write(header.binaryblock + bytes(4))  # the four say that no extension follows
        for values in slices_to_write(volume.data):
            # (row, column) in C order is (i, j) with i fastest.
            file.write(as_stored(values, stored, slope, intercept).tobytes())
    return path


def _check_values(path: Path, data: Slices, dtype: np.dtype, proxy: Any) -> None:
    """Refuse a file that is cut short or holds NaN, by reading it once where nothing less tells."""
    compressed = path.suffix.lower() == ".gz"
    if not compressed and path.stat().st_size < proxy.offset + int(np.prod(proxy.shape)) * dtype.itemsize:
        raise MedleyError(f"{path}: is cut short, its values end early; copy the file again")
    if compressed or dtype.kind == "f":
        for k, values in enumerate(data):
            if not np.isfinite(values).all():
                raise MedleyError(f"{path}: slice {k} (counted from 0) holds NaN or infinite values; expected numbers")


def _header(
    volume: Volume, source: NiftiSource | None, derivation: str, wanted: str | None
) -> tuple[nib.Nifti1Header, np.dtype, float, float]:
    dtype, slope, intercept = np.dtype(wanted or "f4").newbyteorder("<"), 1.0, 0.0
    if source and not wanted and source.dtype.kind in "iu":
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
    affine = volume.affine[:, _TURN]
    same = source is not None and np.allclose(volume.affine, source.affine)
    s_code, q_code = source.codes if source else (1, 1)
    if not same and not (s_code or q_code):
        s_code = q_code = 1
    if q_code:
        header.set_qform(source.qform if source and same else affine, q_code)
    if s_code:
        header.set_sform(affine, s_code)
    return header, dtype, slope, intercept


def as_stored(values: np.ndarray, dtype: np.dtype, slope: float = 1.0, intercept: float = 0.0) -> np.ndarray:
    """Values as a file stores them: for integer types (value - intercept) / slope, rounded and clipped to the type."""
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    exact = np.rint((values.astype(np.float64) - intercept) / slope)
    return exact.clip(limits.min, limits.max).astype(dtype)


@contextmanager
def _creating(path: Path) -> Iterator[IO[bytes]]:
    """A new file, compressed when its name ends in .gz; no time and name inside: the same scan, the same bytes."""
    with path.open("xb") as file:
        if path.suffix.lower() != ".gz":
            yield file
            return
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed:
            yield cast(IO[bytes], packed)


def _read_slices(path: Path) -> Iterator[np.ndarray]:
    """The slices in order; a compressed file stays open, so that it is unpacked once and not once for each slice."""
    with _readable(path):
        proxy = cast(Any, nib.load(path, keep_file_open=True)).dataobj
        rest = (0,) * (len(proxy.shape) - 3)
        for k in range(proxy.shape[2] if len(proxy.shape) > 2 else 1):
            one = proxy[(slice(None), slice(None), k, *rest)] if len(proxy.shape) > 2 else proxy[:, :]
            yield np.asarray(one, np.float32).T


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise MedleyError(f"{path}: cannot be read as NIfTI, it is broken or cut short ({one_line(error)})") from error


def _meaning(path: Path, header: nib.Nifti1Header) -> tuple[str, str]:
    """(modality, unit) as a BIDS sidecar or medley's own note says, "" where nobody does."""
    sidecar = path.with_name(re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE) + ".json")
    if sidecar.is_file():
        try:
            said = json.loads(sidecar.read_text(encoding="utf-8"))
        except ValueError as error:
            raise MedleyError(f"{sidecar}: is not JSON ({error}); correct or remove this sidecar") from error
        modality = str(said.get("Modality", "")) if isinstance(said, dict) else ""
        if modality:
            suv = str(said.get("Units", "")).lower() in ("suv", "suvbw", "g/ml")
            return modality, {"CT": "HU", "MR": "a.u."}.get(modality, "SUV" if modality == "PT" and suv else "")
    note = re.match(rb"medley (\S+) (\S+)", bytes(header["descrip"].item()))
    if not note:
        return "", ""
    modality, unit = (word.decode("ascii", "replace").strip("-") for word in note.groups())
    return modality, unit
