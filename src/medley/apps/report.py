"""The restoration report: one page that shows what was changed, with nothing to fetch from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import date
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

import medley
from medley.apps.pictures import blue_red, display_window, grey, rounded_up, upright
from medley.apps.survey import Survey
from medley.models.weights import Description

_WIDTH, _HEIGHT, _FLOOR = 1100, 230, 1e-5  # of the histogram: pixels, and the smallest share that is drawn


def page(record: Mapping[str, Any], survey: Survey, description: Description) -> str:
    """The page as HTML.

    Parameters
    ----------
    record: what `medley.apps.restore` notes of a scan; only names of files are shown, nothing about the patient.
    survey: what passed.
    description: of the network.
    """
    plan = survey.plan
    shown = list(survey.shown.values())
    window = display_window(plan.task, [before for before, _ in shown])
    limit = rounded_up(float(np.percentile(np.concatenate([np.abs(b - a).ravel() for a, b in shown]), 99.5)))
    unit = plan.task.unit
    low, high = (f"{value:,.4g} {unit}" for value in survey.tissue)
    text = {
        "scan": record["name"],
        "headline": f"{plan.task.title} with {description.name}",
        "window_low": f"{window[0]:.4g} {unit}".replace("-", "−"),
        "window_high": f"{window[1]:.4g} {unit}",
        "grey_ends": "#fff, #000" if plan.task.modality == "PT" else "#000, #fff",
        "limit": f"{limit:g} {unit}",
        "noise_note": "Noise is estimated as the median absolute diagonal Haar detail over 0.6745, slice by slice, where "
        f"the scan before lies between {low} and {high}; noise that a smooth kernel has blurred counts less.",
        "version": medley.__version__,
        "date": date.today().isoformat(),
    }
    blocks = {
        "figures": _figures(record, survey),
        "slices": "\n".join(_slice_row(survey, k, window, limit) for k in sorted(survey.shown)),
        "histogram": histogram(survey),
        "done": _rows(_done(record, survey)),
        "model": _rows(_model(description, record["model"]["sha256"])),
    }
    template = Template(files("medley.apps").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute({key: escape(value) for key, value in text.items()}, **blocks)


def _figures(record: Mapping[str, Any], survey: Survey) -> str:
    unit = survey.plan.task.unit
    noise = survey.noise
    figures = [
        (f"{noise[0]:.3g} → {noise[1]:.3g} {unit}" if noise else "not known", "noise, before → after"),
        (f"{survey.change:.3g} {unit}", "changed, root mean square"),
        (f"{record['kept_outside_range']:,}", "voxels outside the range, left alone"),
        (f"{record['seconds']:.1f} s", f"for {record['shape'][0]:,} slices"),
    ]
    return "\n".join(
        f'<div class="figure"><b>{escape(value)}</b><span class="soft small">{escape(name)}</span></div>'
        for value, name in figures
    )


def _slice_row(survey: Survey, k: int, window: tuple[float, float], limit: float) -> str:
    plan = survey.plan
    before, after = (upright(image, plan.before.affine) for image in survey.shown[k])
    inverted = plan.task.modality == "PT"
    pictures = {
        "before": grey(before, window, inverted=inverted),
        "after": grey(after, window, inverted=inverted),
        "difference": blue_red(after - before, limit),
    }
    rows, columns = upright(np.empty(plan.before.shape[1:]), plan.before.affine).shape
    height, width = plan.before.spacing[1] * rows, plan.before.spacing[2] * columns
    if (rows, columns) != plan.before.shape[1:]:
        height, width = plan.before.spacing[2] * rows, plan.before.spacing[1] * columns
    images = "".join(
        f'<img alt="slice {k + 1}, {name}" style="aspect-ratio: {width:.5g} / {height:.5g}" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        for name, png in pictures.items()
    )
    return f'<div class="row soft small">slice {k + 1} of {plan.before.shape[0]}</div>{images}'


def histogram(survey: Survey) -> str:
    """The values before and after as an SVG: two outlines over one axis, the height logarithmic."""
    low, high = survey.plan.task.window if survey.plan.task.modality == "CT" else _bulk(survey)
    bins = np.linspace(low, high, 121)
    centres = (survey.edges[:-1] + survey.edges[1:]) / 2
    total = max(int(survey.before.sum()), 1)
    outlines = []
    for name, counts in (("before", survey.before), ("after", survey.after)):
        share = np.histogram(centres, bins, weights=counts)[0] / total
        y = _HEIGHT * (1 - np.log(np.maximum(share, _FLOOR) / _FLOOR) / np.log(1 / _FLOOR))
        x = (bins[:-1] - low) / (high - low) * _WIDTH
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        fill = f"fill:var(--{name});fill-opacity:.22" if name == "before" else "fill:none"
        style = f"{fill};stroke:var(--{name});stroke-width:2"
        outlines.append(f'<polyline points="0,{_HEIGHT} {points} {_WIDTH},{_HEIGHT}" style="{style}"/>')
    ticks = []
    for k, anchor in enumerate(("start", "middle", "middle", "middle", "end")):
        value = f"{low + (high - low) * k / 4:.4g}" + (f" {escape(survey.plan.task.unit)}" if k == 4 else "")
        ticks.append(f'<text x="{_WIDTH * k / 4:g}" y="{_HEIGHT + 18}" text-anchor="{anchor}">{value}</text>')
    axis = f'<line x1="0" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}" style="stroke:var(--line)"/>'
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 26}" role="img" aria-label="histogram of the values before and after">'
        f"{axis}{''.join(outlines)}{''.join(ticks)}</svg>"
    )


def _bulk(survey: Survey) -> tuple[float, float]:
    """From the least value to the one that 99.9 % of the voxels do not exceed."""
    shares = np.cumsum(survey.before) / max(int(survey.before.sum()), 1)
    last = int(np.searchsorted(shares, 0.999))
    return float(survey.edges[0]), float(survey.edges[min(last + 1, len(survey.edges) - 1)])


def _done(record: Mapping[str, Any], survey: Survey) -> dict[str, str]:
    plan = survey.plan
    unit = plan.task.unit
    measured = "no" if plan.keep is None else f"yes, the central {plan.keep:.4g} of each axis of k-space"
    return {
        "input": record["name"],
        "output": Path(record["output"]).name,
        "task": plan.task.name,
        "strength": f"{plan.strength:g}",
        **({"scale": f"{plan.scale}", "measured data kept": measured} if plan.task.modality == "MR" else {}),
        "size": " × ".join(str(n) for n in record["shape"]) + " (slices, rows, columns)",
        "spacing": " × ".join(f"{mm:.4g}" for mm in record["spacing"]) + " mm",
        "range of the network": f"{plan.normalisation.low:.5g} to {plan.normalisation.high:.5g} {unit}"
        + (", values beyond it kept" if plan.normalisation.clip else ", from this scan, nothing clipped"),
        "medley": record["version"],
    }


def _model(description: Description, sha256: str) -> dict[str, str]:
    """The model card in a few rows; rows for what the training record does not say are left out."""
    training = description.training
    rows = {"name": description.name, "network": description.architecture, "tasks": ", ".join(description.tasks)}
    if "steps" in training:
        rows["training"] = f"{training['steps']:,} steps"
    for task, people in training.get("train_subjects", {}).items():
        rows[f"{task}: learnt from"] = f"{people} {'person' if people == 1 else 'people'}"
    for task, psnr in training.get("validation_psnr", {}).items():
        rows[f"{task}: on others"] = f"PSNR {psnr:.2f} dB"
    return {**rows, "weights, sha256": sha256}


def _rows(rows: Mapping[str, str]) -> str:
    return "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
