"""Dose-volume histograms of one record, one plot per method: thick lines are the prediction, thin lines the truth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medley.metrics.dose import dvh_curve
from medley.plots.pictures import COLOURS, rounded_up

_WIDTH, _HEIGHT = 300, 230  # pixels of a plot
_PER_LINE = 4
_LEFT, _TOP, _BOTTOM, _GAP = 40, 30, 40, 14
_FINER = 3  # drawn larger by this factor and averaged, for smooth lines
_SOFT, _INK = "#b9c0c9", "#22252a"


def histograms(
    truth: np.ndarray, doses: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray], unit: str
) -> Image.Image:
    """The plots side by side, with a legend of the structures below.

    Parameters
    ----------
    truth: dose (*spatial). doses: by method. masks: structures (*spatial) by name. unit: of a dose.
    """
    top = float(max(dose.max() for dose in (truth, *doses.values())))
    step = rounded_up(top / 5)
    ticks = np.arange(0, top + step, step).tolist()
    column, line = _LEFT + _WIDTH + _GAP, _TOP + _HEIGHT + _BOTTOM
    size = (column * min(len(doses), _PER_LINE) + _GAP, line * (-(-len(doses) // _PER_LINE)) + 24)
    image = Image.new("RGB", (size[0] * _FINER, size[1] * _FINER), "white")
    draw = ImageDraw.Draw(image)
    for k, (method, dose) in enumerate(doses.items()):
        down, across = divmod(k, _PER_LINE)
        _plot(draw, (across * column + _LEFT, down * line), method, dose, truth, masks, ticks, unit)
    x = _LEFT
    for name, colour in zip(masks, _colours(masks), strict=True):
        _text(draw, (x, size[1] - 22), name, colour)
        x += int(draw.textlength(name, _font()) / _FINER) + 22
    return image.resize(size, Image.Resampling.BOX)


def _plot(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    method: str,
    dose: np.ndarray,
    truth: np.ndarray,
    masks: Mapping[str, np.ndarray],
    ticks: list[float],
    unit: str,
) -> None:
    left, top = corner[0], corner[1] + _TOP
    _text(draw, (left, corner[1] + 4), method, _INK)
    for share in (0, 0.5, 1):
        y = top + _HEIGHT * (1 - share)
        _line(draw, [(left, y), (left + _WIDTH, y)], _SOFT, 1)
        _text(draw, (left - 38, y - 9), f"{100 * share:.0f} %", _INK)
    highest = ticks[-1]
    for tick in ticks:
        last = f" {unit}" if tick == highest else ""
        _text(draw, (left + _WIDTH * tick / highest - (34 if last else 8), top + _HEIGHT + 6), f"{tick:g}{last}", _INK)
    edges = np.linspace(0, highest, 151)
    for mask, colour in zip(masks.values(), _colours(masks), strict=True):
        for values, width in ((truth, 1), (dose, 2.4)):
            across = left + _WIDTH * edges / highest
            down = top + _HEIGHT * (1 - dvh_curve(values, mask, edges))
            _line(draw, list(zip(across.tolist(), down.tolist(), strict=True)), colour, width)


def _colours(masks: Mapping[str, np.ndarray]) -> list[str]:
    return [COLOURS[k % len(COLOURS)] for k in range(len(masks))]


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(13 * _FINER)


def _line(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], colour: str, width: float) -> None:
    draw.line([(x * _FINER, y * _FINER) for x, y in points], colour, round(width * _FINER), joint="curve")


def _text(draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: str) -> None:
    draw.text((at[0] * _FINER, at[1] * _FINER), text, colour, _font())
