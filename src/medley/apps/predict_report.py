"""The prediction report: one page with the answers to one scan, with nothing to fetch from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import Any

import numpy as np

import medley
from medley.apps.page import figures, fill, minus, picture, table_rows
from medley.apps.predict_numbers import Masks, dose_of
from medley.metrics.dose import dvh_curve
from medley.pictures import COLOURS, SHOWN_FROM, Contour, dose_colour, overlaid, rounded_up, section
from medley.predictor import Prediction, Predictor
from medley.volume import Volume

WINDOW = (-160.0, 240.0)  # HU: soft tissue
_AIR = -500.0  # HU; pictures show what is denser
_WIDTH, _HEIGHT = 1100, 340  # of the dose-volume histogram
_LEFT, _TOP, _BELOW = 46, 12, 28  # for its numbers
# How the numbers of structures are told, in the order of the table.
_COLUMNS = {
    "volume_ml": "volume, ml",
    "share": "share of the picture, %",
    "D_mean": "mean, Gy",
    "D_0.1cc": "hottest 0.1 ml, Gy",
    "D99": "D99, Gy",
    "D95": "D95, Gy",
    "D1": "D1, Gy",
    "dice": "Dice",
}
_PLANES = ("sagittal", "coronal", "axial")  # by the axis that they are at a right angle to: right, anterior, superior


@dataclass(frozen=True)
class _Line:
    """A structure of the page: its name, colour, mask, and whether it was given rather than predicted."""

    name: str
    colour: str
    mask: np.ndarray
    given: bool


def page(record: Mapping[str, Any], prediction: Prediction, given: Masks, predictor: Predictor) -> str:
    """The page as HTML.

    Parameters
    ----------
    record: what `medley.apps.predict` notes of a scan; only names of files and structures are shown, nothing about the
        patient.
    given: masks that came with the scan, by the problem's names.
    """
    lines = _lines(prediction, given)
    text = {
        "scan": record["name"],
        "headline": f"{predictor.problem.title}: {', '.join(predictor.description.tasks)} by {record['model']['name']}",
        "version": medley.__version__,
        "date": date.today().isoformat(),
    }
    volume = prediction.scan if isinstance(prediction.scan, Volume) else None
    dose = dose_of(prediction)
    small_print = "" if volume is None else (
        "<p>Slices are turned as radiologists look at them: the patient's right is at the left of the picture, in the "
        "sagittal one the front. Volumes and doses are those of the voxels of the scan.</p>"
    )  # fmt: skip
    blocks = {
        "figures": figures(_numbers(record)),
        "notes": "".join(f'<p class="soft">{escape(_sentence(note))}</p>' for note in record["notes"]),
        "pictures": _photograph(prediction.scan, lines) if volume is None else _planes(volume, dose, lines),
        "classes": "".join(_bars(*one) for one in prediction.probabilities.items()),
        "histogram": "" if dose is None or not lines else _histogram(dose, lines),
        "structures": _table(record, lines) if lines else "",
        "done": table_rows(_done(record)),
        "model": table_rows(_model(predictor, record)),
        "small_print": small_print,
    }
    return fill("predict.html", text, blocks)


def hottest(dose: np.ndarray) -> tuple[int, int, int]:
    """The voxel in the middle of those that get at least 90 % of the highest dose (slice, row, column)."""
    hot = np.argwhere(dose >= 0.9 * dose.max())
    middle = hot[np.linalg.norm(hot - hot.mean(axis=0), axis=1).argmin()]  # one of them, also where they form a ring
    return tuple(int(k) for k in middle)  # type: ignore[return-value]


def dose_scale(dose: np.ndarray) -> np.ndarray:
    """Round doses from 0 to just above the highest, five to ten steps."""
    highest = float(dose.max())
    step = rounded_up(highest / 10)
    return step * np.arange(max(1, np.ceil(highest / step - 1e-6)) + 1)


def _lines(prediction: Prediction, given: Masks) -> list[_Line]:
    """Predicted and given structures that have a voxel; those of one name share a colour."""
    predicted = {name: mask for masks in prediction.masks.values() for name, mask in masks.items()}
    names = list(dict.fromkeys([*predicted, *given]))
    lines = []
    for name, colour in zip(names, (COLOURS * (len(names) // len(COLOURS) + 1)), strict=False):
        for masks, is_given in ((predicted, False), (given, True)):
            if name in masks and masks[name].any():
                lines.append(_Line(name, colour, masks[name], is_given))
    return lines


def _numbers(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The cards on top."""
    for target, answer in record["answers"].items():
        if "maximum" in answer:
            yield f"{answer['maximum']:.3g} {answer['unit']}", f"highest {target}"
        elif "probabilities" in answer:
            yield answer["answer"], f"{target}, {100 * answer['probabilities'][answer['answer']]:.0f} %"
        else:
            found = sum(any(numbers.values()) for numbers in answer.values())
            yield f"{found} of {len(answer)}", f"{target}: structures found"
    yield f"{record['seconds']:.1f} s", "for the whole scan"


def _planes(scan: Volume, dose: np.ndarray | None, lines: list[_Line]) -> str:
    """Axial, coronal and sagittal sections through the hottest region, or through the structures, or the middle."""
    if dose is not None and dose.any():
        at, through = hottest(dose), "the hottest region"
    elif lines:
        at = tuple(int(k) for k in np.argwhere(lines[0].mask).mean(axis=0).round())  # type: ignore[assignment]
        through = lines[0].name
    else:
        at, through = tuple(n // 2 for n in scan.shape), "the middle"  # type: ignore[assignment]
    highest = dose_scale(dose)[-1] if dose is not None and dose.any() else 0.0
    data = np.asarray(scan.data)
    around = _around(data > _AIR)
    corner = np.eye(4)
    corner[:3, 3] = [part.start for part in around]
    affine = scan.affine @ corner
    shown = {}
    for axis in range(3):
        index = max(0, at[axis] - around[axis].start)
        image, mm = section(data[around], affine, axis, index)
        contours = [Contour(section(x.mask[around], affine, axis, index)[0], x.colour, x.given) for x in lines]
        wash = section(dose[around], affine, axis, index)[0] if highest and dose is not None else None
        png = overlaid(image, mm, contours, window=WINDOW, dose=wash, highest=highest or 1.0)
        plane = _PLANES[int(np.abs(scan.affine[:3, axis]).argmax())]
        # As wide as the patient is in it, so that all three are shown at one scale of equal height in mm.
        wide, high = image.shape[1] * mm[1], image.shape[0] * mm[0]
        caption = f"{plane}, {('slice', 'row', 'column')[axis]} {at[axis] + 1} of {scan.shape[axis]}"
        image_shown = picture(png, caption, f"aspect-ratio: {wide:.5g} / {high:.5g}")
        shown[plane] = (
            f'<figure style="flex: {wide / high:.4f} 1 0">{image_shown}'
            f'<figcaption class="soft small">{caption}</figcaption></figure>'
        )
    ordered = "".join(shown[plane] for plane in reversed(_PLANES) if plane in shown)
    scale = _scale(highest) if highest else ""
    return f'<h2>Through {escape(through)}</h2>\n<div class="planes">{ordered}</div>\n{scale}{_key(lines)}'


def _around(dense: np.ndarray) -> tuple[slice, ...]:
    """The box of what is no air; everything where there is nothing else."""
    box = []
    for axis in range(3):
        there = np.flatnonzero(dense.any(axis=tuple(k for k in range(3) if k != axis)))
        box.append(slice(int(there[0]), int(there[-1]) + 1) if there.size else slice(0, dense.shape[axis]))
    return tuple(box)


def _photograph(image: Volume | np.ndarray, lines: list[_Line]) -> str:
    contours = [Contour(line.mask, line.colour, line.given) for line in lines]
    png = overlaid(np.asarray(image, np.float32), (1.0, 1.0), contours)
    return f'<h2>The picture</h2>\n<div class="planes photo">{picture(png, "the picture")}</div>\n{_key(lines)}'


def _scale(highest: float) -> str:
    """The colours of the dose."""
    stops = np.linspace(SHOWN_FROM, 1, 12)
    colours = ", ".join("rgb({:.0f} {:.0f} {:.0f})".format(*dose_colour(np.array(stop))) for stop in stops)
    return (
        f'<div class="scale soft small"><span>{SHOWN_FROM * highest:.3g} Gy</span>'
        f'<i class="wash" style="background: linear-gradient(to right, {colours})"></i>'
        f"<span>{highest:.3g} Gy</span></div>"
    )


def _key(lines: list[_Line]) -> str:
    """Which colour is which structure."""
    names = {line.name: line.colour for line in lines}
    items = "".join(f"<span>{_swatch(colour)}{escape(name)}</span>" for name, colour in names.items())
    dotted = "<span>dotted: as given</span>" if any(line.given for line in lines) else ""
    return f'<div class="key soft small">{items}{dotted}</div>' if lines else ""


def _bars(target: str, probabilities: Mapping[str, float]) -> str:
    """The probabilities of classes, the likeliest first."""
    rows = []
    for k, (name, value) in enumerate(sorted(probabilities.items(), key=lambda item: -item[1])):
        kind = ' class="likeliest"' if k == 0 else ""
        rows.append(
            f"<span{kind}>{escape(name.replace('_', ' '))}</span>"
            f'<div><i{kind} style="width: {100 * value:.1f}%"></i></div>'
            f"<span{kind}>{100 * value:.1f} %</span>"
        )
    return f'<h2>{escape(target.capitalize())}</h2>\n<div class="bars">{"".join(rows)}</div>'


def _histogram(dose: np.ndarray, lines: list[_Line]) -> str:
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
        said = f"{line.name}, as given" if line.given else line.name
        parts.append(
            f'<polyline points="{points}" style="fill:none;stroke:{line.colour};stroke-width:2.2{dash}">'
            f"<title>{escape(said)}</title></polyline>"
        )
    dashed = ", dashed those that were given" if any(line.given for line in lines) else ""
    return (
        "<h2>Dose and volume</h2>\n"
        f'<svg viewBox="0 0 {_WIDTH} {_TOP + _HEIGHT + _BELOW}" role="img" aria-label="dose-volume histogram">'
        f"{''.join(parts)}</svg>"
        f'<p class="soft small">Share of each structure that gets at least a dose{dashed}.</p>'
    )


def _table(record: Mapping[str, Any], lines: list[_Line]) -> str:
    """Volumes and doses of the structures."""
    predicted = {
        name: numbers
        for answer in record["answers"].values()
        if not {"maximum", "probabilities"} & answer.keys()
        for name, numbers in answer.items()
    }
    numbers = {False: predicted, True: record["given"]["structures"]}
    columns = [key for key in _COLUMNS if any(key in numbers[line.given][line.name] for line in lines)]
    head = "".join(f"<th>{_COLUMNS[key]}</th>" for key in columns)
    rows = []
    for line in lines:
        found = numbers[line.given][line.name]
        cells = "".join(f"<td>{_cell(key, found)}</td>" for key in columns)
        name = f"{_swatch(line.colour)}{escape(line.name)}" if not line.given else f"{escape(line.name)}, as given"
        rows.append(f"<tr{' class=given' if line.given else ''}><th>{name}</th>{cells}</tr>")
    absent = [name for name, found in predicted.items() if not any(found.values())]
    missing = f'<p class="soft small">Not found: {escape(", ".join(absent))}.</p>' if absent else ""
    table = f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"
    return f'<h2>Structures</h2>\n<div class="numbers">{table}</div>{missing}'


def _cell(key: str, found: Mapping[str, float]) -> str:
    if key not in found:
        return ""
    return (
        f"{100 * found[key]:.1f}" if key == "share" else f"{found[key]:.2f}" if key == "dice" else f"{found[key]:.3g}"
    )


def _swatch(colour: str) -> str:
    return f'<span class="swatch" style="background: {colour}"></span>'


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _done(record: Mapping[str, Any]) -> dict[str, str]:
    axes = "slices, rows, columns" if record["spacing"] else "rows, columns, colours"
    return {
        "input": record["name"],
        "answers to": record["problem"],
        "size": " × ".join(str(n) for n in record["shape"]) + f" ({axes})",
        **({"spacing": " × ".join(f"{mm:.4g}" for mm in record["spacing"]) + " mm"} if record["spacing"] else {}),
        "files": ", ".join(record["files"]),
        "medley": record["version"],
    }


def _model(predictor: Predictor, record: Mapping[str, Any]) -> dict[str, str]:
    """The model card in a few rows; rows for what the training record does not say are left out."""
    description, problem = predictor.description, predictor.problem
    training = description.training
    grid = " × ".join(map(str, problem.grid))
    spacing = " × ".join(f"{mm:.3g}" for mm in problem.spacing)
    low, high = (minus(f"{value:g}") for value in problem.range)
    rows = {
        "name": description.name,
        "network": description.architecture,
        "looks at": ", ".join(description.inputs),
        "grid": f"{grid} of {spacing} mm" if spacing else f"{grid} pixels",
        "range": f"{low} to {high} {problem.unit}".strip(),
    }
    if "steps" in training:
        rows["training"] = f"{training['steps']:,} steps"
    if "train_subjects" in training:
        rows["learnt from"] = f"{training['train_subjects']} people"
    for score, value in training.get("validation", {}).items():
        rows[f"on others: {score.replace('_', ' ')}"] = f"{value:.3g}"
    return {**rows, "weights, sha256": record["model"]["sha256"]}
