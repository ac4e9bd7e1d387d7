"""Photographs and their masks: limited in size, turned upright, damaged ones refused with one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from medley.errors import MedleyError
from medley.runtime.guard import reading

PHOTOGRAPHS = (".jpg", ".jpeg", ".png")
_LARGEST = 150_000_000  # pixels; decoded they need 450 MB
_DARK, _BRIGHT = 0.25, 0.75  # of the largest value of a mask: what a soft or JPEG-compressed mask may have between


def read_photograph(path: Path) -> np.ndarray:
    """A colour photograph as (row, column, 3) uint8, turned upright by its EXIF orientation.

    Raises
    ------
    MedleyError: not a picture, broken, too large, or grey.
    """
    with _open(path) as image:
        if image.mode not in ("RGB", "RGBA", "P", "CMYK", "YCbCr"):
            raise MedleyError(f"{path}: is a grey picture ({image.mode}); expected a colour photograph")
        return np.asarray(image.convert("RGB"))


def read_mask(path: Path) -> np.ndarray:
    """The mask of a structure as (row, column) bool, turned upright by its EXIF orientation.

    Black, index 0, or transparent is background. The structure may have any other single value: 1, 100, 255, a colour
    of a palette, opaque. Soft edges are allowed if nearly all pixels are near black or near the largest value.

    Raises
    ------
    MedleyError: not a picture, broken, too large, or not clearly a mask.
    """
    with _open(path) as image:
        grey = _grey(image, path)
    levels = np.unique(grey)
    if len(levels) == 1:
        if levels[0] not in (0, 1, 255, 65535):
            raise MedleyError(f"{path}: has only the value {levels[0]}; expected a mask, 0 outside and 255 inside")
        return grey > 0
    if len(levels) == 2 and levels[0] == 0:
        return grey > 0
    share = grey / levels[-1]
    unclear = float(np.mean((share > _DARK) & (share < _BRIGHT)))
    if levels[0] / levels[-1] > _DARK or unclear > 0.02:
        raise MedleyError(
            f"{path}: has {len(levels)} values from {levels[0]} to {levels[-1]}, so it is not clear what is inside; "
            "expected a mask with one structure, 0 outside and 255 inside"
        )
    return share > 0.5


def _grey(image: Image.Image, path: Path) -> np.ndarray:
    """The value of each pixel of a mask; the transparency where only that varies."""
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode.startswith("I") or image.mode in ("F", "L"):
        return np.asarray(image)
    if image.mode == "P" and "transparency" not in image.info:
        colours = np.asarray(image.convert("L"))
        return colours if len(np.unique(colours)) == len(np.unique(np.asarray(image))) else np.asarray(image)
    rgba = np.asarray(image.convert("RGBA"))
    grey, alpha = np.asarray(Image.fromarray(rgba[..., :3]).convert("L")), rgba[..., 3]
    if np.ptp(alpha) == 0:
        return grey
    visible = grey[alpha > 0]
    if np.ptp(grey) == 0 or (visible.size and np.ptp(visible) == 0):
        return alpha
    raise MedleyError(f"{path}: has colours and transparency that differ; expected a mask without transparency")


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    """The picture, turned upright; nothing is decoded if it is too large."""
    with opened(path) as image:
        yield ImageOps.exif_transpose(image)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The picture as it is stored. What is done with it in the `with` block may raise the errors of a broken picture.

    Raises
    ------
    MedleyError: not a picture, broken, or too large.
    """
    try:
        with reading(path, "a picture"), Image.open(path) as image:
            if image.width * image.height * getattr(image, "n_frames", 1) > _LARGEST:
                raise Image.DecompressionBombError
            yield image
    except MedleyError as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            raise MedleyError(f"{path}: is not a picture; expected {', '.join(PHOTOGRAPHS)}") from error
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise MedleyError(
                f"{path}: has too many pixels; expected at most {_LARGEST // 10**6} megapixels: make it smaller first"
            ) from error
        raise
