"""Slices as pictures: the way up that a reader of scans expects, in a display window, as PNG."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO

import numpy as np
from PIL import Image

from medley.tasks import Task

LARGEST = 640  # pixels of a picture's longer side; larger slices are averaged down
# Blue, white, red: Brewer's RdBu, reversed, at -1, -1/2, 0, 1/2, 1.
_BLUE_RED = np.array([[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]], np.float64)


def upright(image: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A slice (row, column) turned as radiologists look at it, in steps of a right angle.

    Up is anterior on axial slices and superior on all others; left is the patient's right, on sagittal ones anterior.

    Parameters
    ----------
    affine: (4, 4), takes (slice, row, column, 1) to RAS+ mm.
    """
    row, column = affine[:3, 1], affine[:3, 2]
    axes = [int(np.argmax(np.abs(row))), int(np.argmax(np.abs(column)))]
    if axes[0] < axes[1]:  # the vertical axis is the later one of x, y, z
        image, row, column, axes = image.T, column, row, axes[::-1]
    # rows go down to posterior or inferior, columns go right to the patient's left or posterior: all of them negative
    if row[axes[0]] > 0:
        image = image[::-1]
    if column[axes[1]] > 0:
        image = image[:, ::-1]
    return image


def display_window(task: Task, images: Iterable[np.ndarray]) -> tuple[float, float]:
    """The values shown as black and white: the task's window for CT, else 0 to the 99.8th percentile of the images."""
    if task.modality == "CT":
        return task.window
    high = float(np.percentile(np.concatenate([image.ravel() for image in images]), 99.8))
    return (0.0, high if high > 0 else 1.0)


def grey(image: np.ndarray, window: tuple[float, float], *, inverted: bool = False, zoom: int = 1) -> bytes:
    """A slice as a grey PNG, a pixel as zoom x zoom; `inverted` shows high values dark, as PET is read."""
    unit = ((image - window[0]) / (window[1] - window[0])).clip(0, 1)
    pixels = (255 * (1 - unit if inverted else unit)).round().astype(np.uint8)
    return _png(pixels.repeat(zoom, axis=0).repeat(zoom, axis=1), LARGEST * zoom)


def blue_red(difference: np.ndarray, limit: float) -> bytes:
    """A difference as a PNG: -limit blue, 0 white, limit red."""
    position = (difference / limit).clip(-1, 1) * 2 + 2  # 0..4 along the colours
    colours = [np.interp(position, np.arange(5), _BLUE_RED[:, channel]) for channel in range(3)]
    return _png(np.stack(colours, axis=-1).round().astype(np.uint8))


def rounded_up(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten: a limit that is easy to read."""
    if not value > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9)))


def _png(pixels: np.ndarray, largest: int = LARGEST) -> bytes:
    image = Image.fromarray(pixels)
    if max(image.size) > largest:
        factor = largest / max(image.size)
        image = image.resize([max(1, round(side * factor)) for side in image.size], Image.Resampling.BOX)
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
