"""Tables of numbers as coloured cells: blue above 0, red below, white at 0, with the number in each cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medley.plots.pictures import blue_red_pixels

_WIDTH, _HEIGHT, _GAP, _LINE = 84, 40, 18, 20  # pixels: of a cell, between tables, of a line of text
_FINER = 2  # drawn larger by this factor; pages show the picture at half its size
_INK, _UNKNOWN = "#22252a", "#d8dbe0"


@dataclass(frozen=True)
class Heatmap:
    """A table.

    Attributes
    ----------
    title: above it. rows, columns: their names. values: (rows, columns); NaN for cells without a value.
    limit: the value of the darkest colour.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: np.ndarray
    limit: float = 1.0


def heatmaps(tables: Sequence[Heatmap], per_line: int = 2) -> Image.Image:
    """At least one table, several side by side; names of columns are turned where they are wider than a cell."""
    drawn = [_table(one) for one in tables]
    lines = [drawn[k : k + per_line] for k in range(0, len(drawn), per_line)]
    gap = _GAP * _FINER
    width = max(sum(one.width for one in line) + gap * (len(line) - 1) for line in lines)
    height = sum(max(one.height for one in line) for line in lines) + gap * (len(lines) - 1)
    sheet = Image.new("RGB", (width + 2 * gap, height + 2 * gap), "white")
    top = gap
    for line in lines:
        left = gap
        for one in line:
            sheet.paste(one, (left, top))
            left += one.width + gap
        top += max(one.height for one in line) + gap
    return sheet


def _table(table: Heatmap) -> Image.Image:
    font, bold = ImageFont.load_default(13 * _FINER), ImageFont.load_default(15 * _FINER)
    cell, row, line = _WIDTH * _FINER, _HEIGHT * _FINER, _LINE * _FINER
    margin = round(max(font.getlength(name) for name in table.rows)) + 10 * _FINER
    longest = round(max(font.getlength(name) for name in table.columns))
    turned = longest > cell - 6 * _FINER
    head = line + (longest + 10 * _FINER if turned else line)
    width = max(margin + cell * len(table.columns), round(bold.getlength(table.title)))
    image = Image.new("RGB", (width, head + row * len(table.rows)), "white")
    draw = ImageDraw.Draw(image)
    draw.text((0, line // 2), table.title, _INK, bold, anchor="lm")
    colours = blue_red_pixels(-np.nan_to_num(np.asarray(table.values, np.float64)), table.limit)
    for j, name in enumerate(table.columns):
        middle = margin + cell * j + cell // 2
        if turned:
            label = Image.new("RGB", (longest + 2, line), "white")
            ImageDraw.Draw(label).text((0, line // 2), name, _INK, font, anchor="lm")
            image.paste(label.rotate(90, expand=True), (middle - line // 2, head - longest - 6 * _FINER))
        else:
            draw.text((middle, head - line // 2), name, _INK, font, anchor="mm")
    for i, name in enumerate(table.rows):
        top = head + row * i
        draw.text((margin - 8 * _FINER, top + row // 2), name, _INK, font, anchor="rm")
        for j in range(len(table.columns)):
            left, value = margin + cell * j, float(table.values[i][j])
            known = math.isfinite(value)
            fill = tuple(colours[i, j].tolist()) if known else _UNKNOWN
            draw.rectangle((left, top, left + cell - _FINER, top + row - _FINER), fill)
            ink = "white" if known and abs(value) > 0.6 * table.limit else _INK
            text = f"{round(value, 2) + 0.0:.2f}" if known else "none"
            draw.text((left + cell // 2, top + row // 2), text, ink, font, anchor="mm")
    return image
