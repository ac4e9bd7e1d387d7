"""MetaImage and NRRD <-> Volume, as a whole. They are written by SimpleITK (an extra, imported when needed)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medley.errors import MedleyError
from medley.geometry.orientation import RAS_FROM_LPS, check_square
from medley.io.metaimage import parse_metaimage
from medley.io.nifti import as_stored
from medley.io.nrrd import parse_nrrd
from medley.io.plausible import as_float32, check_grid
from medley.io.raw_image import RawImage, read_values
from medley.io.writing import Append
from medley.runtime.atomic import one_line, replacing
from medley.runtime.extras import install_hint
from medley.runtime.guard import reading
from medley.volume import Volume

READS = (".mha", ".mhd", ".nrrd", ".nhdr")
SUFFIXES = (".mha", ".nrrd")


@dataclass(frozen=True)
class SitkSource:
    """What the writer needs of the file a volume was read from: the type of its values, and its paths."""

    dtype: np.dtype
    paths: tuple[Path, ...]


def open_sitk(path: Path) -> Volume:
    """A MetaImage or NRRD file as a volume in memory.

    Raises
    ------
    MedleyError: damaged, larger than the memory, not one greyscale volume, an impossible geometry, NaN or infinite
        values, data in another folder.
    """
    with reading(path, _format(path)):
        image = _parse(path)
        affine = RAS_FROM_LPS @ image.affine
        check_grid(affine, path)
        values = as_float32(read_values(image, path), f"{path}: it")
    note = image.note.split()
    modality, unit = (word.strip("-") for word in note) if len(note) == 2 else ("", "")
    source = SitkSource(image.dtype.newbyteorder("="), tuple({path, image.file}))
    return Volume(values, affine, modality, unit, source)


def read_grid(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """The shape (slice, row, column) and the affine (4, 4) to RAS mm of a file, from its header alone.

    Raises
    ------
    MedleyError: as of `open_sitk`.
    """
    with reading(path, _format(path)):
        image = _parse(path)
        affine = RAS_FROM_LPS @ image.affine
        check_grid(affine, path)
    return image.shape, affine


@contextmanager
def sitk_writer(
    volume: Volume, path: Path, *, derivation: str = "", overwrite: bool = False, mode: int = 0o777
) -> Iterator[Append]:
    """Write a volume to `.mha` or `.nrrd`, completely or not at all: call the given function with each slice.

    All slices are kept in memory until the end. A volume that came from such a file of an integer type of up to 32 bits
    keeps the type; every other becomes float32.

    Parameters
    ----------
    volume: gives shape, affine, modality, unit and source; its values are not used.
    mode: as of `replacing`.

    Raises
    ------
    MedleyError: SimpleITK is not installed, the file exists and `overwrite` is False, it cannot be written.
    """
    sitk = _simpleitk()
    check_square(volume.affine, path)
    dtype = volume.source.dtype if isinstance(volume.source, SitkSource) else np.dtype("f4")
    if dtype.kind not in "iu" or dtype.itemsize > 4:
        dtype = np.dtype("f4")
    with replacing(path, overwrite=overwrite, mode=mode) as temporary:
        stored = np.empty(volume.shape, dtype)
        places = iter(stored)

        def append(values: np.ndarray) -> None:
            next(places)[:] = as_stored(values, dtype)

        yield append
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
            # On a full disk SimpleITK cuts an NRRD file short without an error; only reading the file back reveals it.
            complete = np.array_equal(read_values(_parse(temporary), temporary), stored)
        except RuntimeError as error:
            raise MedleyError(f"{path}: could not be written ({one_line(error)})") from error
        except (MedleyError, EOFError):
            complete = False
        if not complete:
            raise MedleyError(f"{path}: could not be written (it came out incomplete; is the disk full?)")


def _format(path: Path) -> str:
    return "NRRD" if path.suffix.lower() in (".nrrd", ".nhdr") else "MetaImage"


def _parse(path: Path) -> RawImage:
    return parse_nrrd(path) if _format(path) == "NRRD" else parse_metaimage(path)


def _simpleitk() -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        raise MedleyError(f"writing MHA and NRRD files needs SimpleITK; {install_hint('formats')}") from error
    return SimpleITK
