"""The restoration report: one HTML file without links that shows what was changed."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from medley.apps._error_map import ErrorMap
from medley.apps._likeness import compared, unlike
from medley.apps._page import figures, fill, minus, picture, table_rows
from medley.apps._residual_report import residual_section
from medley.apps._survey import Survey
from medley.apps.listing import score_name, score_text
from medley.inference.expected_error import LEVEL
from medley.inference.plan import RestorationPlan
from medley.inference.residual import ResidualTest
from medley.models.weights import Description
from medley.plots.pictures import blue_red, display_window, grey, rounded_up, upright
from medley.runtime.text import counted

_NOTICE = (
    "A neural network changed this scan. It can remove details that are there and show details that are not. Always "
    "check the original."
)
_UNCHANGED = "This scan was left as it is."
_WIDTH, _HEIGHT, _COLUMNS = 1100, 220, 110  # of the histogram


def page(
    record: Mapping[str, Any],
    survey: Survey,
    test: ResidualTest,
    description: Description,
    errors: ErrorMap | None = None,
) -> str:
    """The page as HTML.

    Parameters
    ----------
    record: the record of `medley.apps.restore.restore_one`; names of files are shown, but nothing about the patient.
    survey, test: the measurements. description: of the network. errors: the expected error, if it was asked for.
    """
    plan = survey.plan
    shown = list(survey.shown.values())
    window = display_window(plan.task, [before for before, _ in shown])
    limit = rounded_up(float(np.percentile(np.concatenate([np.abs(b - a).ravel() for a, b in shown]), 99.5)))
    unit = plan.task.unit
    text = {
        "scan": record["name"],
        "kind": "Restoration report",
        "done_by": "restored by medley",
        "warning": "Not for diagnosis.",
        "notice": (_NOTICE if plan.strength else _UNCHANGED) + unlike(plan.likeness, description.name),
        "headline": f"{plan.task.title} with {description.name}",
        "window_low": minus(f"{window[0]:.4g} {unit}"),
        "window_high": f"{window[1]:.4g} {unit}",
        "grey_ends": "#fff, #000" if plan.task.modality == "PT" else "#000, #fff",
        "limit": f"{limit:g} {unit}",
    }
    small_print = (
        "Noise is the standard deviation about a plane in the flattest blocks of a few slices, the same before and "
        "after. Waves of the noise that are longer than a block are not counted (docs/trust.md).",
        "Slices are shown in radiological orientation: the patient's right is on the left of the picture.",
    )
    blocks = {
        "figures": _figures(record, survey),
        "slices": "\n".join(_slice_row(survey, k, window, limit) for k in sorted(survey.shown)),
        "errors": _errors(errors, survey) if errors else "",
        "residual": residual_section(test, window),
        "histogram": histogram(survey),
        "done": table_rows(_done(record, survey)),
        "model": table_rows(_model(description, record["model"]["sha256"])),
        "small_print": "\n".join(f"<p>{escape(line)}</p>" for line in small_print),
    }
    return fill("restore.html", text, blocks)


def _figures(record: Mapping[str, Any], survey: Survey) -> str:
    unit = survey.plan.task.unit
    noise = survey.noise
    numbers = [
        (f"{noise[0]:.3g} → {noise[1]:.3g} {survey.noise_unit}" if noise else "unknown", "noise, before → after"),
        (f"{survey.change:.3g} {unit}", "root mean square change"),
        (f"{record['kept_outside_range']:,}", "voxels outside the range, unchanged"),
        (
            f"{record['seconds']:.1f} s",
            f"for {counted(record['shape'][0], 'slice')}",
        ),
    ]
    return figures(numbers)


def _errors(errors: ErrorMap, survey: Survey) -> str:
    """The section about the expected error: a sentence, and a picture of each shown slice."""
    unit, found = survey.plan.task.unit, errors.record()
    if found["median"] is None or found["highest"] is None:
        return "<h2>Expected error</h2><p>The scan shows no tissue for which it could be stated.</p>"
    limit = rounded_up(found["highest"])
    pictures = "".join(
        _picture(survey, k, "expected error", grey(upright(errors.shown[k], survey.plan.before.affine), (0, limit)))
        for k in sorted(errors.shown)
    )
    words = (
        f"In {100 * LEVEL:.0f} % of the tissue the true value lies within ± these values of the restored one. Their "
        f"median is {found['median']:.3g} {unit}, and 95 % are below {found['highest']:.3g} {unit}. This was measured "
        "on simulated scans of validation subjects; it does not hold for scans that are unlike the training scans."
    )
    return (
        f'<h2>Expected error</h2><p>{escape(words)}</p><section class="slices four">{pictures}'
        '<div class="scale wide soft small"><span>0</span><i style="background: linear-gradient(to right, #000, #fff)">'
        f"</i><span>{limit:g} {unit}</span></div></section>"
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
    images = "".join(_picture(survey, k, name, png) for name, png in pictures.items())
    return f'<div class="row soft small">slice {k + 1} of {plan.before.shape[0]}</div>{images}'


def _picture(survey: Survey, k: int, name: str, png: bytes) -> str:
    """A picture of slice `k` with the sides that it has in mm."""
    before = survey.plan.before
    rows, columns = upright(np.empty(before.shape[1:]), before.affine).shape
    height, width = before.spacing[1] * rows, before.spacing[2] * columns
    if (rows, columns) != before.shape[1:]:
        height, width = before.spacing[2] * rows, before.spacing[1] * columns
    return picture(png, f"slice {k + 1}, {name}", f"aspect-ratio: {width:.5g} / {height:.5g}")


def histogram(survey: Survey) -> str:
    """The histograms before (area) and after (line) as SVG, with a logarithmic vertical axis."""
    first, last = _bulk(survey)
    group = -(-(last - first) // _COLUMNS)  # whole bins, so that every column covers the same range of values
    last = first + (last - first) // group * group
    low, high = survey.edges[first], survey.edges[last]
    shares = [counts[first:last].reshape(-1, group).sum(axis=1) for counts in (survey.before, survey.after)]
    top, floor = max(float(share.max()) for share in shares), 1e-5 * float(survey.before.sum())
    lines = []
    for share in shares:
        height = np.log(np.maximum(share, floor) / floor) / max(np.log(top / floor), 1e-9)
        x = np.linspace(0, _WIDTH, len(share))
        lines.append(" ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, _HEIGHT * (1 - height) + 2, strict=True)))
    ticks = []
    for k, anchor in enumerate(("start", "middle", "middle", "middle", "end")):
        value = f"{low + (high - low) * k / 4:.4g}" + (f" {escape(survey.plan.task.unit)}" if k == 4 else "")
        ticks.append(f'<text x="{_WIDTH * k / 4:g}" y="{_HEIGHT + 20}" text-anchor="{anchor}">{minus(value)}</text>')
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 26}" role="img" aria-label="histogram of the values before and after">'
        f'<polygon points="0,{_HEIGHT + 2} {lines[0]} {_WIDTH},{_HEIGHT + 2}" style="fill:var(--before);opacity:.35"/>'
        f'<polyline points="{lines[1]}" style="fill:none;stroke:var(--after);stroke-width:2"/>'
        f"{''.join(ticks)}</svg>"
    )


def _bulk(survey: Survey) -> tuple[int, int]:
    """The range of bins to draw: the window of the task for CT, else up to the 99.9th percentile of the voxels."""
    if survey.plan.task.modality == "CT":
        first, last = np.searchsorted(survey.edges, survey.plan.task.window)
        return int(first), int(last)
    shares = np.cumsum(survey.before) / max(int(survey.before.sum()), 1)
    return 0, max(int(np.searchsorted(shares, 0.999)) + 1, 2)


def _done(record: Mapping[str, Any], survey: Survey) -> dict[str, str]:
    plan = survey.plan
    unit = plan.task.unit
    unchanged = f", values {'outside' if survey.keeps_above else 'below'} are unchanged"
    measured = "no" if plan.measured is None else "the central {} x {} lines of k-space".format(*plan.measured)
    return {
        "input": record["name"],
        "output": Path(record["output"]).name,
        "task": plan.task.name,
        "strength": f"{plan.strength:g}",
        **_chosen(plan),
        **({"scale": f"{plan.scale}", "measured data kept": measured} if plan.task.modality == "MR" else {}),
        "precision": record["precision"],
        "training scans": compared(plan.likeness),
        **({"padding": f"{record['padding']:,} voxels without a measured value"} if record["padding"] else {}),
        **({"windows": f"{plan.window} × {plan.window} pixels, overlapping"} if plan.window else {}),
        "size": " × ".join(str(n) for n in record["shape"]) + " (slices, rows, columns)",
        "spacing": " × ".join(f"{mm:.4g}" for mm in record["spacing"]) + " mm",
        "range of the network": minus(f"{plan.normalisation.low:.5g} to {plan.normalisation.high:.5g} {unit}")
        + (unchanged if plan.normalisation.clip else ", estimated from this scan, not clipped"),
        "medley": record["version"],
    }


def _chosen(plan: RestorationPlan) -> dict[str, str]:
    """The rows about a strength that was chosen by the noise."""
    match = plan.match
    if match is None:
        return {}
    wanted = {} if match.wanted is None else {"noise that was wanted": f"{match.wanted:.3g} {match.unit}"}
    least = {} if match.full is None else {"noise at full strength": f"{match.full:.3g} {match.unit}"}
    return {**wanted, **least, **({"choice of the strength": match.note} if match.note else {})}


def _model(description: Description, sha256: str) -> dict[str, str]:
    """The most important rows of the model card; what the training record does not contain is left out."""
    training = description.training
    rows = {"name": description.name, "network": description.architecture, "tasks": ", ".join(description.tasks)}
    if "steps" in training:
        rows["training"] = f"{training['steps']:,} steps"
    for task, people in training.get("train_subjects", {}).items():
        rows[f"{task}: trained on"] = counted(people, "subject")
    for name, value in training.get("validation", {}).items():
        rows[f"validation: {score_name(name)}"] = score_text(name, value)
    return {**rows, "weights, sha256": sha256}
