"""MHA and NRRD <-> Volume through SimpleITK (an extra, imported when needed). Read and written as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medley.errors import MedleyError
from medley.geometry.orientation import RAS_FROM_LPS, check_square
from medley.io.nifti import as_stored
from medley.runtime.atomic import one_line, replacing, slices_to_write
from medley.runtime.extras import install_hint
from medley.volume import Volume

READS = (".mha", ".mhd", ".nrrd", ".nhdr")
SUFFIXES = (".mha", ".nrrd")


def open_sitk(path: Path) -> Volume:
    """A file SimpleITK reads as a volume in memory; `source` is the numpy type of its values.

    Raises
    ------
    MedleyError: SimpleITK is not installed; not one greyscale volume; NaN or infinite values.
    """
    sitk = _simpleitk()
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise MedleyError(f"{path}: cannot be read, it is broken or cut short ({one_line(error)})") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise MedleyError(
            f"{path}: has {image.GetDimension()} axes and {image.GetNumberOfComponentsPerPixel()} values for each "
            "voxel; expected one volume of three axes and one value"
        )
    stored = sitk.GetArrayFromImage(image)
    if stored.dtype.kind not in "iuf":
        raise MedleyError(f"{path}: stores {stored.dtype} values; expected one real number for each voxel")
    if not np.isfinite(stored).all():
        raise MedleyError(f"{path}: holds NaN or infinite values; expected numbers")
    affine = _affine(image)
    check_square(affine, path)
    note = image.GetMetaData("medley").split() if image.HasMetaDataKey("medley") else []
    modality, unit = (word.strip("-") for word in note) if len(note) == 2 else ("", "")
    return Volume(stored, affine, modality, unit, stored.dtype)


def read_grid(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """The shape (slice, row, column) and the affine (4, 4) to RAS mm of a file, from its header alone.

    Raises
    ------
    MedleyError: SimpleITK is not installed; a file it cannot read, or not of three axes.
    """
    reader = _simpleitk().ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise MedleyError(f"{path}: cannot be read, it is broken or cut short ({one_line(error)})") from error
    if reader.GetDimension() != 3:
        raise MedleyError(f"{path}: has {reader.GetDimension()} axes; expected one volume of three")
    return reader.GetSize()[::-1], _affine(reader)


def write_sitk(volume: Volume, path: Path, *, derivation: str = "", overwrite: bool = False) -> Path:
    """Write a volume to `.mha` or `.nrrd`, whole or not at all; it is held in memory.

    A volume that came from such a file of an integer type keeps the type; every other becomes float32.

    Raises
    ------
    MedleyError: SimpleITK is not installed, the file exists and `overwrite` is False, it cannot be written.
    """
    sitk = _simpleitk()
    check_square(volume.affine, path)
    dtype = volume.source if isinstance(volume.source, np.dtype) and volume.source.kind in "iu" else np.dtype("f4")
    with replacing(path, overwrite=overwrite) as temporary:
        stored = _stored(volume, dtype)
        image = sitk.GetImageFromArray(stored)
        lps = RAS_FROM_LPS @ volume.affine
        image.SetSpacing(volume.spacing[::-1])
        image.SetDirection((lps[:3, :3] / volume.spacing)[:, ::-1].ravel().tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetMetaData("medley", f"{volume.modality or '-'} {volume.unit or '-'}")
        if derivation:
            image.SetMetaData("derivation", derivation)
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
            # On a full disk a NRRD file is cut short without any error; only reading it tells.
            whole = np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(temporary))), stored)
        except RuntimeError as error:
            raise MedleyError(f"{path}: could not be written ({one_line(error)})") from error
        if not whole:
            raise MedleyError(f"{path}: could not be written (it came out incomplete; is the disk full?)")
    return path


def _stored(volume: Volume, dtype: np.dtype) -> np.ndarray:
    stored = np.empty(volume.shape, dtype)
    for k, values in enumerate(slices_to_write(volume.data)):
        stored[k] = as_stored(values, dtype)
    return stored


def _affine(image: Any) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = (np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return RAS_FROM_LPS @ affine


def _simpleitk() -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        raise MedleyError(f"MHA and NRRD files need SimpleITK; {install_hint('formats')}") from error
    return SimpleITK
