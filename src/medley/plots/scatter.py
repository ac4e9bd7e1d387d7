"""Points in the plane, coloured by group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medley.plots.pictures import COLOURS

_SIDE, _LEFT, _TOP, _LEGEND = 460, 44, 44, 190  # pixels
_FINER = 2
_INK, _SOFT = "#22252a", "#b9c0c9"


def scatter(points: np.ndarray, groups: Sequence[str], title: str, axes: tuple[str, str]) -> Image.Image:
    """Points (n, 2) in a square, both axes with the same scale; a colour for each group, in the order of appearance.

    Parameters
    ----------
    axes: what is shown to the right and upwards.
    """
    names = list(dict.fromkeys(groups))
    colour = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(names)}
    size = (_LEFT + _SIDE + _LEGEND) * _FINER, (_TOP + _SIDE + 40) * _FINER
    image = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13 * _FINER)
    left, top, side = _LEFT * _FINER, _TOP * _FINER, _SIDE * _FINER
    draw.text((left, top // 2), title, _INK, ImageFont.load_default(15 * _FINER), anchor="lm")
    draw.rectangle((left, top, left + side, top + side), outline=_SOFT, width=_FINER)
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    reach = 0.55 * float(np.ptp(points, axis=0).max()) or 1.0
    for (x, y), group in zip((points - middle) / (2 * reach) + 0.5, groups, strict=True):
        across, down, radius = left + side * x, top + side * (1 - y), 4 * _FINER
        draw.ellipse((across - radius, down - radius, across + radius, down + radius), colour[group], "white", _FINER)
    draw.text((left + side // 2, top + side + 20 * _FINER), axes[0], _INK, font, anchor="mm")
    upwards = Image.new("RGB", (side, 20 * _FINER), "white")
    ImageDraw.Draw(upwards).text((side // 2, 10 * _FINER), axes[1], _INK, font, anchor="mm")
    image.paste(upwards.rotate(90, expand=True), (left - 30 * _FINER, top))
    for k, name in enumerate(names):
        x, y = left + side + 22 * _FINER, top + (12 + 22 * k) * _FINER
        draw.ellipse((x - 5 * _FINER, y - 5 * _FINER, x + 5 * _FINER, y + 5 * _FINER), colour[name])
        draw.text((x + 12 * _FINER, y), name, _INK, font, anchor="lm")
    return image
