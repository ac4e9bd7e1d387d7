"""Maps of what a network decided, as pictures beside the image: choices of pixels, attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from medley.plots.pictures import COLOURS, stacked

SIDE = 220  # pixels of the longer side of a picture
_GAP, _LINE, _FONT = 8, 22, 14


@dataclass(frozen=True)
class MapRow:
    """One line: its title, the image (row, column) or (row, column, 3) in [0, 1], and maps (row, column) by name.

    A map has any resolution, and covers the whole image.
    """

    title: str
    image: np.ndarray
    maps: Mapping[str, np.ndarray]


def choices(rows: Sequence[MapRow], kind: str) -> Image.Image:
    """One line for each row, at least one; the maps are whole numbers from 0.

    kind: what a number is, such as "expert"; the legend counts from 1.
    """
    colours = np.array([ImageColor.getrgb(one) for one in COLOURS], np.uint8)

    def tile(values: np.ndarray, size: tuple[int, int], image: Image.Image) -> Image.Image:
        return Image.fromarray(colours[values % len(COLOURS)]).resize(size, Image.Resampling.NEAREST)

    drawn = [_line(row, tile) for row in rows]
    count = 1 + max(int(one.max()) for row in rows for one in row.maps.values())
    legend = Image.new("RGB", (max(one.width for one in drawn), _LINE + _GAP), "white")
    draw, x = ImageDraw.Draw(legend), _GAP
    for k in range(count):
        draw.rectangle((x, 6, x + 12, 18), COLOURS[k % len(COLOURS)])
        draw.text((x + 18, 12), f"{kind} {k + 1}", "black", ImageFont.load_default(_FONT), anchor="lm")
        x += 100
    return stacked([*drawn, legend])


def attention(rows: Sequence[MapRow]) -> Image.Image:
    """One line for each row, at least one; the maps are attention relative to an even spread, which is 1.

    Attention is drawn in orange over the image: nothing at 1 and below, opaque at the largest value of all maps.
    """
    highest = max(float(one.max()) for row in rows for one in row.maps.values())
    orange = np.array(ImageColor.getrgb("#ff7f0e"), np.float32)

    def tile(values: np.ndarray, size: tuple[int, int], image: Image.Image) -> Image.Image:
        share = ((values - 1) / max(highest - 1, 1e-6)).clip(0, 1).astype(np.float32)
        opacity = np.asarray(Image.fromarray(share).resize(size, Image.Resampling.BILINEAR))[..., None]
        blended = (1 - opacity) * np.asarray(image, np.float32) + opacity * orange
        return Image.fromarray(np.rint(blended).astype(np.uint8))

    drawn = [_line(row, tile) for row in rows]
    legend = Image.new("RGB", (max(one.width for one in drawn), _LINE + _GAP), "white")
    text = f"orange: attention above an even spread, opaque at {highest:.3g} times"
    ImageDraw.Draw(legend).text((_GAP, 12), text, "black", ImageFont.load_default(_FONT), anchor="lm")
    return stacked([*drawn, legend])


def _line(row: MapRow, tile) -> Image.Image:  # type: ignore[no-untyped-def]
    """The image and its maps; `tile` draws a map (row, column) with a size in pixels, given the drawn image."""
    factor = SIDE / max(row.image.shape[:2])
    size = max(1, round(row.image.shape[1] * factor)), max(1, round(row.image.shape[0] * factor))
    levels = Image.fromarray(np.rint(255 * row.image.clip(0, 1)).astype(np.uint8)).convert("RGB")
    image = levels.resize(size, Image.Resampling.BILINEAR)
    tiles = [image, *(tile(one, size, image) for one in row.maps.values())]
    line = Image.new("RGB", (_GAP + (SIDE + _GAP) * len(tiles), _LINE + size[1] + _GAP), "white")
    draw, font = ImageDraw.Draw(line), ImageFont.load_default(_FONT)
    for k, (picture, name) in enumerate(zip(tiles, [row.title, *row.maps], strict=True)):
        left = _GAP + (SIDE + _GAP) * k
        draw.text((left, _LINE // 2), name, "black", font, anchor="lm")
        line.paste(picture, (left, _LINE))
    return line
