"""The part of the restoration report that asks whether anatomy was removed."""

from __future__ import annotations

from html import escape

import numpy as np

from medley.apps._page import minus, picture, table_section
from medley.inference.residual import ResidualTest, summary
from medley.plots.pictures import blue_red, grey, rounded_up, upright


def residual_section(test: ResidualTest, window: tuple[float, float]) -> str:
    """The result in words, the measures, and the flagged regions, numbered, with close-ups, as HTML.

    Parameters
    ----------
    window: of the close-ups, in the unit of the scan.
    """
    plan = test.plan
    unit = plan.task.unit
    record = test.record()
    rows = [(f"mean change, {name}", minus(f"{value:.3g} {unit}")) for name, value in record["shift"].items()]
    if record["edge_loss"] is not None:
        rows.append(("removed from the steepest edges", minus(f"{100 * record['edge_loss']:.1f} %")))
    if record["measured_change"] is not None:
        rows.append(("change of the measured part of k-space", f"{100 * record['measured_change']:.2g} %"))
    words = summary(test.regions)
    answer = f"<h2>Was anatomy removed?</h2><p>{escape(words[:1].upper() + words[1:])}.</p>"
    measures = table_section("What was changed", ("measure", "value"), rows) if rows else ""
    return answer + measures + "\n".join(_close_ups(test, n, window) for n in range(len(test.regions)))


def _close_ups(test: ResidualTest, number: int, window: tuple[float, float]) -> str:
    """Before, after and difference of one region."""
    region, plan = test.regions[number], test.plan
    before, after = (upright(one, plan.before.affine) for one in region.crops)
    inverted = plan.task.modality == "PT"
    limit = rounded_up(max(float(np.percentile(np.abs(after - before), 99.5)), 1e-6))
    images = {
        "before": grey(before, window, inverted=inverted, zoom=4),
        "after": grey(after, window, inverted=inverted, zoom=4),
        "difference": blue_red(after - before, limit),
    }
    place = ", ".join(f"{one:.0f}" for one in region.position)
    score = f", {region.score:.1f} standard deviations of noise" if region.score else ""
    text = minus(
        f"{number + 1}. {region.kind}: {region.change:+.3g} {plan.task.unit}{score}, slice {region.slice + 1}, row "
        f"{region.row + 1}, column {region.column + 1} ({place} mm to the right, front and top)"
    )
    pictures = "".join(picture(png, f"region {number + 1}, {name}") for name, png in images.items())
    return f'<section class="slices"><div class="row small">{escape(text)}</div>{pictures}</section>'
