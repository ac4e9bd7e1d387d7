"""`medley interference`: how much the tasks of a recipe disturb each other, as a table, a figure and a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import medley
from medley.apps._findings import Findings, number, write_findings
from medley.apps._outputs import check_outputs
from medley.apps._tables import show_rows
from medley.apps._terminal import progress, say
from medley.runtime.extras import require_extra

if TYPE_CHECKING:
    from PIL import Image

    from medley.experiments.interference import Effect

_NOTES = (
    "Interference: how much a short step along the gradient of the task in the column lowers the loss of the task in "
    "the row, as a fraction of what a step of the same length for the row's own task achieves. 1: as useful as an own "
    "step; 0: no effect; negative: it harms. The table need not be symmetric.",
    "Cosine: the mean cosine between the gradients of two tasks on the same batch.",
    "“none”: steps for the task do not lower its own loss.",
)


def interference(
    recipe: Path,
    output: Path,
    *,
    settings: Sequence[str] = (),
    weights: Sequence[str] = (),
    at: Sequence[int] = (),
    layers: Sequence[str] = (),
    count: int = 16,
    other_samples: bool = False,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Measure interference and write OUTPUT/interference.csv, .png and .html; the table is printed too.

    Parameters
    ----------
    recipe: a training recipe; settings change it. The others: see `medley.experiments.interference_runs`.
    """
    require_extra("train")
    from medley.experiments.interference_runs import measure_recipe
    from medley.training.recipe import read_recipe

    plan = read_recipe(recipe, settings)
    files = [Path(one) for one in weights if Path(one).exists()]
    check_outputs([recipe, plan.store, *files], [output], overwrite=overwrite)
    with progress("measuring", quiet=quiet) as update:
        effects = measure_recipe(
            plan,
            weights=weights,
            at=at,
            layers=layers or ("*",),
            count=count,
            other_samples=other_samples,
            device=device,
            progress=update,
        )
    samples = "other samples" if other_samples else "the samples of the steps"
    said = [f"--weights {one}" for one in weights] + [f"--at {one}" for one in at]
    said += [f"--layers '{one}'" for one in layers]
    about = {
        "command": " ".join(["medley interference", recipe.name, *(f"--set {one}" for one in settings), *said]),
        "batches": str(count),
        "losses of": samples,
        "medley": medley.__version__,
    }
    shown = [_cells(effect) for effect in effects if effect.task != effect.other]
    columns = ("network", "step", "layers", "task", "step for", "interference", "interval", "cosine", "interval")
    findings = Findings(
        name="interference",
        kind="medley interference",
        headline=f"{count} batches, losses of {samples}",
        notes=_NOTES,
        header=about,
        rows=[asdict(effect) for effect in effects],
        figures={"interference": ("Interference and cosines", figure(effects))},
        tables=[("Effects of other tasks", columns, shown)],
    )
    write_findings(findings, output, plan.name, overwrite=overwrite)
    show_rows(columns, shown)
    say(f"interference -> {output}", quiet=quiet)


def figure(effects: Sequence[Effect]) -> Image.Image:
    """For every network, step and set of layers the table of interference, and that of cosines beside it."""
    import numpy as np

    from medley.plots.heatmaps import Heatmap, heatmaps

    tasks = list(dict.fromkeys(one.task for one in effects))
    size = len(tasks) ** 2
    tables = []
    for group in (effects[k : k + size] for k in range(0, len(effects), size)):
        first = group[0]
        where = f"{first.network}, step {first.step}" + ("" if first.layers == "*" else f", {first.layers}")
        for what in ("interference", "cosine"):
            square = np.array([getattr(one, what) for one in group]).reshape(len(tasks), len(tasks))
            tables.append(Heatmap(f"{where}: {what}", tasks, tasks, square))
    return heatmaps(tables)


def _cells(effect: Effect) -> list[str]:
    def interval(low: float, high: float) -> str:
        return "" if low != low else f"{number(low)} to {number(high)}"

    return [
        effect.network, str(effect.step), effect.layers, effect.task, effect.other,
        number(effect.interference), interval(effect.interference_low, effect.interference_high),
        number(effect.cosine), interval(effect.cosine_low, effect.cosine_high),
    ]  # fmt: skip
