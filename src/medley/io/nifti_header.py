"""The header of a NIfTI-1 or NIfTI-2 file: checked against its own size and what a scan can be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from medley.errors import MedleyError

HEAD_BYTES = 544  # enough for the header of either version
PADDING = 16  # bytes that may follow the last voxel
# By the first field (sizeof_hdr): the parser, the first byte a voxel may have, and the magic of a single file.
_VERSIONS = {348: (nib.Nifti1Header, 352, b"n+1"), 540: (nib.Nifti2Header, 544, b"n+2")}
# mm per unit of length, by its code (0: unknown, 1: metre, 2: mm, 3: micrometre).
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


@dataclass(frozen=True)
class Layout:
    """Where the values are stored: shape (i, j, k), type, first byte; value = slope * stored value + intercept."""

    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    slope: float
    intercept: float

    @property
    def slice_bytes(self) -> int:
        """Stored bytes of one slice."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    @property
    def end(self) -> int:
        """The byte after the last voxel."""
        return self.offset + self.shape[2] * self.slice_bytes

    def check_size(self, size: int, path: Path) -> None:
        """Refuse a file of that many bytes if it is shorter or longer than this.

        Raises
        ------
        MedleyError
        """
        if size < self.end:
            raise MedleyError(
                f"{path}: is cut short: it has {size} bytes, its header announces {self.end}; copy the file again"
            )
        if size > self.end + PADDING:
            raise MedleyError(f"{path}: has {size} bytes, its header announces {self.end}; its header is damaged")


@dataclass(frozen=True)
class Header:
    """The place of the voxels and the text of a header.

    Attributes
    ----------
    affine, qform: (i, j, k, 1) -> RAS mm; the affine is the sform, else the qform, else the spacing alone.
    codes: of sform and qform; 0 where it is absent, or (qform) where it is not needed and no rotation.
    description: the field descrip.
    """

    affine: np.ndarray
    qform: np.ndarray
    codes: tuple[int, int]
    description: bytes


def parse_header(head: bytes, path: Path) -> tuple[Header, Layout]:
    """The contents of the first `HEAD_BYTES` of a file.

    Raises
    ------
    MedleyError: not one greyscale volume; lengths in an unknown unit; an impossible type, offset, scaling or place.
    ValueError, nibabel's HeaderDataError: not a NIfTI header.
    """
    size, order = _size_and_order(head)
    if not size or len(head) < size:
        raise ValueError("it does not begin with a NIfTI header")
    kind, first, magic = _VERSIONS[size]
    header = kind(head[:size], order, check=False)
    if header["magic"].item().rstrip(b"\0") != magic:
        raise MedleyError(
            f"{path}: is not a NIfTI file of one piece (magic {header['magic'].item()!r}); convert it to .nii"
        )
    return _geometry(header, path), _layout(header, first, path)


def is_header(head: bytes) -> bool:
    """Whether bytes begin like a NIfTI header."""
    return _size_and_order(head)[0] > 0


def _size_and_order(head: bytes) -> tuple[int, str]:
    """The size of the header, which is its first field (0: no NIfTI header), and the byte order."""
    for order, name in (("<", "little"), (">", "big")):
        if (size := int.from_bytes(head[:4], name)) in _VERSIONS:  # type: ignore[arg-type]
            return size, order
    return 0, "<"


def _layout(header: nib.Nifti1Header, first: int, path: Path) -> Layout:
    axes = int(header["dim"][0])
    if not 1 <= axes <= 7:
        raise MedleyError(f"{path}: dim[0], the number of axes, is {axes}; expected 2 or 3: its header is damaged")
    sizes = [int(n) for n in header["dim"][1 : axes + 1]]
    if axes < 2 or min(sizes) < 1 or any(n != 1 for n in sizes[3:]):
        raise MedleyError(f"{path}: has the shape {tuple(sizes)}; expected one volume of three axes: split it first")
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise MedleyError(f"{path}: stores {dtype} values (complex or colour); expected one real number for each voxel")
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        raise MedleyError(
            f"{path}: bitpix is {int(header['bitpix'])}, but its type {dtype} has {8 * dtype.itemsize} bits; its "
            "header is damaged"
        )
    offset = float(header["vox_offset"])
    if not (first <= offset < 2**31) or offset % 1:
        raise MedleyError(f"{path}: vox_offset is {offset:g}; expected {first} or more, where the voxels begin")
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):  # both mean: not scaled
        slope, intercept = 1.0, 0.0
    if not np.isfinite([slope, intercept]).all():
        raise MedleyError(f"{path}: scl_slope and scl_inter are {slope:g} and {intercept:g}; expected finite numbers")
    columns, rows, slices = (*sizes, 1)[:3]
    return Layout((columns, rows, slices), dtype, int(offset), slope, intercept)


def _geometry(header: nib.Nifti1Header, path: Path) -> Header:
    unit = int(header["xyzt_units"])
    if (mm := _MM.get(unit & 7)) is None:
        raise MedleyError(f"{path}: xyzt_units is {unit}; expected lengths in mm, m or micrometres")
    to_mm = np.diag([mm, mm, mm, 1])
    codes = [int(header["sform_code"]), int(header["qform_code"])]
    for name, code in zip(("sform_code", "qform_code"), codes, strict=True):
        if not 0 <= code <= 5:
            raise MedleyError(f"{path}: {name} is {code}; expected 0 to 5: its header is damaged")
    if header["pixdim"][0] == 0:  # the standard: read it as 1
        header["pixdim"][0] = 1
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            qform = to_mm @ header.get_qform()
        if not np.isfinite(qform).all():
            raise ValueError("it is not finite")
    except (ValueError, nib.spatialimages.HeaderDataError) as error:
        if codes[1] and not codes[0]:
            raise MedleyError(
                f"{path}: its qform is not a rotation ({error}), and it has no sform; correct quatern_b, quatern_c, "
                "quatern_d and pixdim"
            ) from error
        codes[1], qform = 0, np.eye(4)
    if codes[0]:
        affine = to_mm @ header.get_sform()
    elif codes[1]:
        affine = qform
    else:
        affine = to_mm @ header.get_base_affine()
    return Header(affine, qform, (codes[0], codes[1]), header["descrip"].item())
