"""Slices as PNG pictures in radiological orientation and in a display window.

Doses are drawn over them as a colour wash, structures as contours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageColor
from scipy import ndimage

from medley.geometry.resampling import to_size
from medley.tasks import Task

LARGEST = 640  # pixels of a picture's longer side; larger slices are averaged down
# Blue, white, red: Brewer's RdBu, reversed, at -1, -1/2, 0, 1/2, 1.
_BLUE_RED = np.array([[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]], np.float64)
# Of a dose, evenly spaced from 0 to the highest: blue, cyan, green, yellow, orange, red.
DOSE_COLOURS = ((35, 60, 190), (0, 160, 215), (45, 180, 90), (245, 225, 60), (245, 140, 30), (200, 20, 35))
SHOWN_FROM = 0.1  # of the highest dose; lower doses are transparent
# Of contours and curves: visible on grey, white and black, and distinguishable by most people.
COLOURS = (
    "#e6483d", "#35b558", "#5b8cff", "#f08a24", "#b667f1", "#12b5c4", "#ea4fb5", "#a9803f", "#8fae1b", "#e0b000",
)  # fmt: skip


def upright(image: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A slice (row, column) in the radiological orientation, turned by multiples of 90 degrees.

    Up is anterior on axial slices and superior on all others; left is the patient's right, on sagittal ones anterior.

    Parameters
    ----------
    affine: (4, 4), takes (slice, row, column, 1) to RAS+ mm.
    """
    row, column = affine[:3, 1], affine[:3, 2]
    if _lies(affine):
        image, row, column = image.T, column, row
    axes = [int(np.argmax(np.abs(row))), int(np.argmax(np.abs(column)))]
    # rows go down to posterior or inferior, columns go right to the patient's left or posterior: all of them negative
    if row[axes[0]] > 0:
        image = image[::-1]
    if column[axes[1]] > 0:
        image = image[:, ::-1]
    return image


@dataclass(frozen=True)
class Contour:
    """The outline of a mask (row, column) in a colour, "#rrggbb"; `dotted` for a reference."""

    mask: np.ndarray
    colour: str
    dotted: bool = False


def section(array: np.ndarray, affine: np.ndarray, axis: int, index: int) -> tuple[np.ndarray, tuple[float, float]]:
    """Voxel `index` along an axis of a volume (slice, row, column) as a picture (row, column), turned by `upright`.

    Parameters
    ----------
    affine: (4, 4), takes (slice, row, column, 1) to RAS+ mm.

    Returns
    -------
    The picture, and mm from one of its rows and columns to the next.
    """
    across = affine[:, [axis, *(k for k in range(3) if k != axis), 3]]
    row, column = (float(mm) for mm in np.linalg.norm(across[:3, 1:3], axis=0))
    return upright(array.take(index, axis), across), (column, row) if _lies(across) else (row, column)


def overlaid(
    image: np.ndarray,
    mm: tuple[float, float],
    contours: Iterable[Contour] = (),
    *,
    window: tuple[float, float] = (0, 255),
    dose: np.ndarray | None = None,
    highest: float = 1.0,
    side: int = LARGEST,
) -> bytes:
    """A slice or photograph with a wash of dose and contours over it, as a PNG of square pixels.

    Parameters
    ----------
    image: (row, column) grey or (row, column, 3) coloured. mm: from row to row and from column to column.
    window: the values shown as black and white.
    dose: (row, column), transparent below `SHOWN_FROM` of `highest`, the value of the last colour.
    side: pixels of the longer side.
    """
    extent = np.array(image.shape[:2]) * mm
    rows, columns = (max(1, round(x)) for x in extent * side / extent.max())
    channels = image[None].repeat(3, axis=0) if image.ndim == 2 else np.moveaxis(image, -1, 0)
    pixels = 255 * ((to_size(channels, (rows, columns)) - window[0]) / (window[1] - window[0])).clip(0, 1)
    if dose is not None:
        share = to_size(dose, (rows, columns)) / highest
        opacity = 0.55 * ((share - SHOWN_FROM) / 0.03).clip(0, 1)
        pixels += opacity * (dose_colour(share) - pixels)
    for contour in contours:
        inside = to_size(contour.mask, (rows, columns)) >= 0.5
        line = inside & ~ndimage.binary_erosion(inside, iterations=2, border_value=1)
        halo = ndimage.binary_dilation(inside) & ~inside
        if contour.dotted:
            dots = np.add.outer(np.arange(rows), np.arange(columns)) // 5 % 2 == 0
            line, halo = line & dots, halo & dots
        pixels[:, halo] *= 0.5
        pixels[:, line] = np.array(ImageColor.getrgb(contour.colour))[:, None]
    return _png(np.moveaxis(pixels, 0, -1).round().astype(np.uint8), side)


def dose_colour(share: np.ndarray) -> np.ndarray:
    """The colours (3, ...) from 0 to 255 for fractions of the highest dose."""
    stops = np.linspace(0, 1, len(DOSE_COLOURS))
    return np.stack([np.interp(share, stops, one) for one in np.array(DOSE_COLOURS, np.float64).T])


def display_window(task: Task, images: Iterable[np.ndarray]) -> tuple[float, float]:
    """The values shown as black and white: the task's window for CT, else 0 to the 99.8th percentile of the images."""
    if task.modality == "CT":
        return task.window
    high = float(np.percentile(np.concatenate([image.ravel() for image in images]), 99.8))
    return (0.0, high if high > 0 else 1.0)


def grey(image: np.ndarray, window: tuple[float, float], *, inverted: bool = False, zoom: int = 1) -> bytes:
    """A slice as a grey PNG, each pixel as zoom x zoom; `inverted` shows high values dark, as usual for PET."""
    unit = ((image - window[0]) / (window[1] - window[0])).clip(0, 1)
    pixels = (255 * (1 - unit if inverted else unit)).round().astype(np.uint8)
    return _png(pixels.repeat(zoom, axis=0).repeat(zoom, axis=1), LARGEST * zoom)


def blue_red(difference: np.ndarray, limit: float) -> bytes:
    """A difference as a PNG: -limit blue, 0 white, limit red."""
    return _png(blue_red_pixels(difference, limit))


def blue_red_pixels(difference: np.ndarray, limit: float) -> np.ndarray:
    """The colours of differences (...) as (..., 3) uint8: -limit blue, 0 white, limit red."""
    position = (difference / limit).clip(-1, 1) * 2 + 2  # 0..4 along the colours
    colours = [np.interp(position, np.arange(5), _BLUE_RED[:, channel]) for channel in range(3)]
    return np.stack(colours, axis=-1).round().astype(np.uint8)


def png_bytes(image: Image.Image) -> bytes:
    """The content of a PNG file."""
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def stacked(bands: Sequence[Image.Image], gap: int = 0) -> Image.Image:
    """Pictures below each other on white, each followed by `gap` pixels; the width is that of the widest."""
    sheet = Image.new("RGB", (max(one.width for one in bands), sum(one.height + gap for one in bands)), "white")
    top = 0
    for one in bands:
        sheet.paste(one, (0, top))
        top += one.height + gap
    return sheet


def rounded_up(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten: a limit that is easy to read."""
    if not value > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9)))


def _lies(affine: np.ndarray) -> bool:
    """Whether the columns of a slice become the rows of its picture: the vertical axis is the later of x, y, z."""
    row, column = np.abs(affine[:3, 1:3]).argmax(axis=0)
    return bool(row < column)


def _png(pixels: np.ndarray, largest: int = LARGEST) -> bytes:
    image = Image.fromarray(pixels)
    if max(image.size) > largest:
        factor = largest / max(image.size)
        image = image.resize([max(1, round(side * factor)) for side in image.size], Image.Resampling.BOX)
    return png_bytes(image)
