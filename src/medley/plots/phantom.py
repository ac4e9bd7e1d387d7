"""A picture of the CT phantom: one realisation with disks, a row for each dose, a column for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from medley.plots.figures import write_png
from medley.scoring.methods import Method
from medley.scoring.phantom import add_disks, restored

WINDOW = (-100.0, 100.0)  # HU
_HEAD = 18  # pixels, for the title of an image


def write_phantom(
    methods: Sequence[Method], doses: Mapping[int, np.ndarray], path: Path, *, overwrite: bool = False
) -> Path:
    """Write the first realisation of each dose (`scoring.phantom.read_phantom`), restored by each method, as PNG.

    Raises
    ------
    MedleyError: the file exists and `overwrite` is False.
    """
    first = {dose: add_disks(images).present[:1] for dose, images in doses.items()}
    rows, columns = next(iter(first.values())).shape[1:]
    page = Image.new("L", (len(methods) * columns, len(first) * (rows + _HEAD)), 255)
    pen = ImageDraw.Draw(page)
    for k, (dose, image) in enumerate(first.items()):
        for j, method in enumerate(methods):
            x, y = j * columns, k * (rows + _HEAD)
            unit = np.clip((restored(image, method)[0] - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0, 1)
            page.paste(Image.fromarray((255 * unit).round().astype(np.uint8)), (x, y + _HEAD))
            pen.text((x + 4, y + 3), f"{method.name}, dose {dose} %", fill=0)
    return write_png(page, path, overwrite=overwrite)
