"""The pictures of the prediction report: sections with dose and contours, photographs, dose-volume histograms."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np

from medley.apps._page import picture
from medley.apps._predict_numbers import Masks
from medley.inference.predictor import Prediction
from medley.metrics.dose import dvh_curve
from medley.plots.pictures import COLOURS, SHOWN_FROM, Contour, dose_colour, overlaid, rounded_up, section
from medley.volume import Volume

WINDOW = (-160.0, 240.0)  # HU: soft tissue
_CROP_ABOVE = -500.0  # HU; pictures are cropped to denser voxels
_WIDTH, _HEIGHT = 1100, 340  # of the dose-volume histogram
_LEFT, _TOP, _BELOW = 46, 12, 28  # for its labels
_PLANES = ("sagittal", "coronal", "axial")  # by the axis that is perpendicular to them: right, anterior, superior


@dataclass(frozen=True)
class Line:
    """A structure in the pictures: its name, colour, mask, and whether the user gave it."""

    name: str
    colour: str
    mask: np.ndarray
    given: bool


def lines_of(prediction: Prediction, given: Masks) -> list[Line]:
    """The predicted and the given structures that are not empty; structures of the same name have the same colour."""
    predicted = {name: mask for masks in prediction.masks.values() for name, mask in masks.items()}
    names = list(dict.fromkeys([*predicted, *given]))
    lines = []
    for name, colour in zip(names, (COLOURS * (len(names) // len(COLOURS) + 1)), strict=False):
        for masks, is_given in ((predicted, False), (given, True)):
            if name in masks and masks[name].any():
                lines.append(Line(name, colour, masks[name], is_given))
    return lines


def planes(scan: Volume, dose: np.ndarray | None, lines: list[Line]) -> str:
    """Axial, coronal and sagittal sections through the region of the highest dose, else the largest structure, else the
    centre of the scan."""
    at, through = _middle(scan, dose, lines)
    highest = float(dose_scale(dose)[-1]) if dose is not None and dose.any() else 0.0
    data = np.asarray(scan.data)
    around = _around(data > _CROP_ABOVE)
    corner = np.eye(4)
    corner[:3, 3] = [part.start for part in around]
    shown = {}
    for axis in range(3):
        index = int(np.clip(at[axis], around[axis].start, around[axis].stop - 1))

        def cut(array: np.ndarray, axis: int = axis, index: int = index - around[axis].start) -> np.ndarray:
            return section(array[around], scan.affine @ corner, axis, index)[0]

        image, mm = section(data[around], scan.affine @ corner, axis, index - around[axis].start)
        contours = [Contour(cut(line.mask), line.colour, line.given) for line in lines]
        wash = cut(dose) if dose is not None and highest else None
        png = overlaid(image, mm, contours, window=WINDOW, dose=wash, highest=highest or 1.0)
        plane = _PLANES[int(np.abs(scan.affine[:3, axis]).argmax())]
        caption = f"{plane}, {('slice', 'row', 'column')[axis]} {index + 1} of {scan.shape[axis]}"
        wide, high = image.shape[1] * mm[1], image.shape[0] * mm[0]
        shown[plane] = (
            f'<figure style="flex: {wide / high:.4f} 1 0">'  # so that all three have the same height
            f"{picture(png, caption, f'aspect-ratio: {wide:.5g} / {high:.5g}')}"
            f'<figcaption class="soft small">{caption}</figcaption></figure>'
        )
    ordered = "".join(shown[plane] for plane in reversed(_PLANES) if plane in shown)
    scale = _scale(highest) if highest else ""
    return f'<h2>Through {escape(through)}</h2>\n<div class="planes">{ordered}</div>\n{scale}{_key(lines)}'


def photograph(pixels: np.ndarray, lines: list[Line]) -> str:
    """The photograph with the outlines of the structures."""
    contours = [Contour(line.mask, line.colour, line.given) for line in lines]
    png = overlaid(pixels.astype(np.float32), (1.0, 1.0), contours)
    image = picture(png, "photograph with outlines")
    return f'<h2>Photograph</h2>\n<div class="planes photo">{image}</div>\n{_key(lines)}'


def _middle(scan: Volume, dose: np.ndarray | None, lines: list[Line]) -> tuple[tuple[int, ...], str]:
    """The voxel that the sections go through (slice, row, column), and a name for it."""
    if dose is not None and dose.any():
        return hottest(dose), "the region of the highest dose"
    if lines:
        largest = max(lines, key=lambda line: np.count_nonzero(line.mask))
        return tuple(np.argwhere(largest.mask).mean(axis=0).round().astype(int).tolist()), largest.name
    return tuple(n // 2 for n in scan.shape), "the centre"


def _around(dense: np.ndarray) -> tuple[slice, ...]:
    """The bounding box of the True voxels; the whole scan if there are none."""
    box = []
    for axis in range(3):
        there = np.flatnonzero(dense.any(axis=tuple(k for k in range(3) if k != axis)))
        box.append(slice(int(there[0]), int(there[-1]) + 1) if there.size else slice(0, dense.shape[axis]))
    return tuple(box)


def _scale(highest: float) -> str:
    """The legend of the dose colours."""
    stops = np.linspace(SHOWN_FROM, 1, 12)
    colours = ", ".join("rgb({:.0f} {:.0f} {:.0f})".format(*dose_colour(np.array(stop))) for stop in stops)
    return (
        f'<div class="scale soft small"><span>{SHOWN_FROM * highest:.3g} Gy</span>'
        f'<i class="wash" style="background: linear-gradient(to right, {colours})"></i>'
        f"<span>{highest:.3g} Gy</span></div>"
    )


def _key(lines: list[Line]) -> str:
    """The legend of the structures."""
    names = {line.name: line.colour for line in lines}
    items = "".join(f"<span>{swatch(colour)}{escape(name)}</span>" for name, colour in names.items())
    dotted = "<span>dotted: given structures</span>" if any(line.given for line in lines) else ""
    return f'<div class="key soft small">{items}{dotted}</div>' if lines else ""


def histogram(dose: np.ndarray, lines: list[Line]) -> str:
    """The cumulative dose-volume histogram of all structures as an SVG; given structures are dashed."""
    marks = dose_scale(dose)
    doses = np.linspace(0, marks[-1], 201)
    x = _LEFT + (_WIDTH - _LEFT) * doses / marks[-1]
    parts = []
    for percent in range(0, 101, 25):
        y = _TOP + _HEIGHT * (1 - percent / 100)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:g}" y2="{y:g}" style="stroke:var(--line)"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:g}" text-anchor="end">{percent} %</text>')
    for k, mark in enumerate(marks):
        place = _LEFT + (_WIDTH - _LEFT) * mark / marks[-1]
        text, anchor = (f"{mark:.4g} Gy", "end") if k == len(marks) - 1 else (f"{mark:.4g}", "middle")
        parts.append(f'<text x="{place:g}" y="{_TOP + _HEIGHT + 20}" text-anchor="{anchor}">{text}</text>')
    for line in lines:
        share = dvh_curve(dose[line.mask], np.ones(np.count_nonzero(line.mask), bool), doses)
        heights = _TOP + _HEIGHT * (1 - share)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, heights, strict=True))
        dash = ";stroke-dasharray:7 5" if line.given else ""
        title = f"{line.name}, given" if line.given else line.name
        parts.append(
            f'<polyline points="{points}" style="fill:none;stroke:{line.colour};stroke-width:2.2{dash}">'
            f"<title>{escape(title)}</title></polyline>"
        )
    dashed = "; dashed lines: given structures" if any(line.given for line in lines) else ""
    return (
        "<h2>Dose-volume histogram</h2>\n"
        f'<svg viewBox="0 0 {_WIDTH} {_TOP + _HEIGHT + _BELOW}" role="img" aria-label="dose-volume histogram">'
        f"{''.join(parts)}</svg>"
        f'<p class="soft small">Share of the volume of each structure that receives at least this dose{dashed}.</p>'
    )


def hottest(dose: np.ndarray) -> tuple[int, int, int]:
    """The central voxel of those that receive at least 90 % of the maximum dose (slice, row, column)."""
    hot = np.argwhere(dose >= 0.9 * dose.max())
    middle = hot[np.linalg.norm(hot - hot.mean(axis=0), axis=1).argmin()]  # one of them, even if they form a ring
    return tuple(int(k) for k in middle)  # type: ignore[return-value]


def dose_scale(dose: np.ndarray) -> np.ndarray:
    """Round doses from 0 to just above the maximum, in five to ten steps."""
    highest = float(dose.max())
    step = rounded_up(highest / 10)
    return step * np.arange(max(1, np.ceil(highest / step - 1e-6)) + 1)


def swatch(colour: str) -> str:
    """A square of a colour."""
    return f'<span class="swatch" style="background: {colour}"></span>'
