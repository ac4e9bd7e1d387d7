"""PNG, TIFF and other pictures <-> Volume: grey levels as they are, of colour the luminance.

Of a colour picture only the luminance Y is restored or degraded; Cb and Cr are kept and put back by the writer (BT.601,
Y from 16 to 235), as in UniH3 (arXiv 2609.11156, supplement).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, ImageSequence
from PIL.PngImagePlugin import PngInfo

from medley.errors import MedleyError
from medley.io.photographs import opened
from medley.io.writing import Append
from medley.runtime.atomic import replacing
from medley.runtime.limits import check_memory
from medley.volume import Volume

READS = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
SUFFIXES = (".png", ".tif", ".tiff")  # of those that are written
UNIT = "grey levels"
_DESCRIPTION = 270  # ImageDescription of TIFF

# BT.601 for R, G, B and Y, Cb, Cr of 8 bits, Y from 16 to 235: rows Y, Cb, Cr.
_TO_YCBCR = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255
_OFFSET = np.array([16.0, 128.0, 128.0])
_TO_RGB = np.linalg.inv(_TO_YCBCR)


@dataclass(frozen=True)
class PictureSource:
    """What the writer needs of the file a volume was read from.

    Attributes
    ----------
    paths: the file.  dtype: of the stored values, 8 or 16 bits.  colour: whether it has three channels.
    chroma: (slice, row, column, 2) float32, Cb and Cr; None where the picture is grey.
    processed: how medley made it, or "".
    """

    paths: tuple[Path, ...]
    dtype: np.dtype
    colour: bool = False
    chroma: np.ndarray | None = None
    processed: str = ""


def luminance(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(..., 3) R, G, B from 0 to 255 -> Y (...), from 16 to 235, and Cb and Cr (..., 2), from 16 to 240; float32."""
    ycbcr = (rgb.astype(np.float64) @ _TO_YCBCR.T + _OFFSET).astype(np.float32)
    return ycbcr[..., 0], ycbcr[..., 1:]


def coloured(y: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Y (...) with Cb and Cr (..., 2) -> R, G, B (..., 3) uint8, rounded and clipped; the inverse of `luminance`."""
    ycbcr = np.concatenate([y[..., None], chroma], axis=-1).astype(np.float64)
    return np.rint((ycbcr - _OFFSET) @ _TO_RGB.T).clip(0, 255).astype(np.uint8)


def open_picture(path: Path) -> Volume:
    """A picture as a volume of one slice; a TIFF with several pages has as many.

    The values are grey levels of 8 or 16 bits, of a colour picture the luminance. A picture states no modality and no
    size of a pixel: the affine has 1 mm along each axis.

    Raises
    ------
    MedleyError: not a picture, broken, too large; colour with 16 bits or with transparency; pages that differ.
    """
    with opened(path) as image:
        frames = getattr(image, "n_frames", 1)
        check_memory(path, 24 * image.width * image.height * frames)
        processed = str(image.info.get("Description") or getattr(image, "tag_v2", {}).get(_DESCRIPTION) or "")
        pages = [_page(page, path) for page in (ImageSequence.Iterator(image) if frames > 1 else [image])]
    if len({(page.shape, page.dtype) for page in pages}) > 1:
        raise MedleyError(f"{path}: its pages differ in size or in type; separate them into files")
    values = np.stack(pages)
    chroma = None
    colour = values.ndim == 4
    if colour and (values[..., :1] == values[..., 1:]).all():
        grey = values[..., 0]
    elif colour:
        grey, chroma = luminance(values)
    else:
        grey = values
    source = PictureSource((path,), values.dtype, colour, chroma, processed if processed.startswith("medley") else "")
    return Volume(grey.astype(np.float32), np.eye(4), "", UNIT, source)


@contextmanager
def picture_writer(
    volume: Volume, path: Path, *, derivation: str = "", overwrite: bool = False, mode: int = 0o777
) -> Iterator[Append]:
    """Write a volume that was read from a picture, with the bits and the colour of that picture; rounded and clipped.

    Gives a function to call with each slice in order.

    Raises
    ------
    MedleyError: the volume was not read from a picture, or has another size; several slices in a PNG; it cannot be
        written.
    """
    source = volume.source
    if not isinstance(source, PictureSource):
        raise MedleyError(
            f"{path}: a picture has no unit and no place, so only what was read from a picture can be written as one; "
            "choose .nii.gz, or no suffix for a folder with a DICOM series"
        )
    if source.chroma is not None and source.chroma.shape[:3] != volume.shape:
        raise MedleyError(f"{path}: the colour of the picture has another size than the result; keep its size")
    if path.suffix.lower() == ".png" and volume.shape[0] > 1:
        raise MedleyError(f"{path}: there are {volume.shape[0]} slices, but a PNG holds one; choose .tif")
    pages: list[Image.Image] = []

    def append(values: np.ndarray) -> None:
        pages.append(Image.fromarray(_stored(values, source, len(pages))))

    with replacing(path, overwrite=overwrite, mode=mode) as temporary:
        yield append
        if path.suffix.lower() == ".png":
            text = PngInfo()
            text.add_itxt("Description", derivation)
            pages[0].save(temporary, "PNG", pnginfo=text)
        else:
            information = {_DESCRIPTION: derivation}
            more = {"save_all": True, "append_images": pages[1:]} if len(pages) > 1 else {}
            pages[0].save(temporary, "TIFF", compression="tiff_deflate", tiffinfo=information, **more)


def _stored(values: np.ndarray, source: PictureSource, k: int) -> np.ndarray:
    """Slice k as the picture stores it."""
    if source.chroma is not None:
        return coloured(values, source.chroma[k])
    grey = np.rint(values).clip(0, np.iinfo(source.dtype).max).astype(source.dtype)
    return np.repeat(grey[..., None], 3, axis=-1) if source.colour else grey


def _page(image: Image.Image, path: Path) -> np.ndarray:
    """(row, column) uint8 or uint16, or (row, column, 3) uint8."""
    sixteen = ";16" in str(getattr(image, "tile", ""))  # Pillow drops the lower bits of colours
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("L", "1"):
        return np.asarray(upright.convert("L"))
    if upright.mode.startswith("I"):
        values = np.asarray(upright)
        if values.min() < 0 or values.max() > 65535:
            raise MedleyError(f"{path}: has values from {values.min()} to {values.max()}; expected 8 or 16 bits")
        return values.astype(np.uint16)
    if upright.mode not in ("RGB", "RGBA", "LA", "P", "YCbCr"):
        raise MedleyError(f"{path}: is a picture of the kind {upright.mode}; expected grey values or RGB")
    if sixteen:
        raise MedleyError(f"{path}: has 16 bits for each colour; expected 8: convert it first")
    if upright.has_transparency_data and np.asarray(upright.convert("RGBA"))[..., 3].min() < 255:
        raise MedleyError(f"{path}: is partly transparent; expected a picture without transparency")
    return np.asarray(upright.convert("L" if upright.mode == "LA" else "RGB"))
