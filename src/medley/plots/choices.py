"""Maps of choices, such as the expert of every pixel, as coloured pictures beside the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from medley.plots.pictures import COLOURS, stacked

SIDE = 220  # pixels of the longer side of a picture
_GAP, _LINE, _FONT = 8, 22, 14


@dataclass(frozen=True)
class ChoiceRow:
    """One line: its title, the image (row, column) in [0, 1], and maps of whole numbers from 0 by name."""

    title: str
    image: np.ndarray
    maps: Mapping[str, np.ndarray]


def choices(rows: Sequence[ChoiceRow], kind: str) -> Image.Image:
    """One line for each row, at least one; a map has any resolution, and covers the whole image.

    kind: what a number is, such as "expert"; the legend counts from 1.
    """
    drawn = [_line(row) for row in rows]
    count = 1 + max(int(one.max()) for row in rows for one in row.maps.values())
    legend = Image.new("RGB", (max(one.width for one in drawn), _LINE + _GAP), "white")
    draw, x = ImageDraw.Draw(legend), _GAP
    for k in range(count):
        draw.rectangle((x, 6, x + 12, 18), COLOURS[k % len(COLOURS)])
        draw.text((x + 18, 12), f"{kind} {k + 1}", "black", ImageFont.load_default(_FONT), anchor="lm")
        x += 100
    return stacked([*drawn, legend])


def _line(row: ChoiceRow) -> Image.Image:
    factor = SIDE / max(row.image.shape)
    size = max(1, round(row.image.shape[1] * factor)), max(1, round(row.image.shape[0] * factor))
    grey = np.rint(255 * row.image.clip(0, 1)).astype(np.uint8)
    colours = np.array([ImageColor.getrgb(one) for one in COLOURS], np.uint8)
    tiles = [Image.fromarray(grey).convert("RGB").resize(size, Image.Resampling.BILINEAR)]
    tiles += [
        Image.fromarray(colours[one % len(COLOURS)]).resize(size, Image.Resampling.NEAREST) for one in row.maps.values()
    ]
    line = Image.new("RGB", (_GAP + (SIDE + _GAP) * len(tiles), _LINE + size[1] + _GAP), "white")
    draw, font = ImageDraw.Draw(line), ImageFont.load_default(_FONT)
    for k, (tile, name) in enumerate(zip(tiles, [row.title, *row.maps], strict=True)):
        left = _GAP + (SIDE + _GAP) * k
        draw.text((left, _LINE // 2), name, "black", font, anchor="lm")
        line.paste(tile, (left, _LINE))
    return line
