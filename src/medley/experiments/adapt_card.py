"""The model card of an adaptation, in Markdown: whether the new weights are better, in what, and by how much."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np

import medley
from medley.data.scan_noise import WIDEST_PIXEL
from medley.experiments.adapt import Adaptation, Outcome
from medley.experiments.report_tables import markdown_table, name_of, written
from medley.scoring.statistics import FEWEST_SUBJECTS, RESAMPLES

HEADERS = ("task", "score", "before", "after", "difference", "held-back subjects", "records", "result")
_WORDS = {"better": "better", "worse": "worse", "": "no clear difference"}


def card(result: Adaptation, name: str) -> str:
    """The card of weights called `name`; it names no subjects."""
    return "\n\n".join(
        [
            f"# {name}",
            f"{result.old.description.name}, adapted with `medley adapt` (medley {medley.__version__}) to the data of "
            "one department. **Research software. Not for diagnosis.**",
            "## Did it improve?",
            verdict_of(result),
            markdown_table(HEADERS, map(cells, result.outcomes)),
            "Scores of the held-back subjects, which were not used for training. In brackets the 95 % interval of the "
            f"difference, from {RESAMPLES:,} resamples of these subjects. With fewer than {FEWEST_SUBJECTS} held-back "
            "subjects there is no interval, and a task counts as better only if every single record is: weak evidence.",
            "## Training",
            "\n".join(f"* {line}" for line in _training(result)),
            *_simulation(result),
            "## Limits",
            "\n".join(f"* {line}" for line in _limits(result)),
        ]
    ) + "\n"  # fmt: skip


def verdict_of(result: Adaptation) -> str:
    """Whether the new weights are better, and for what they can be used, in a few sentences."""
    old = result.old.description.name
    if not result.improved:
        return f"**No.** The new weights are better in none of the tasks, so they were not written. Keep using {old}."
    better = ", ".join(result.improved)
    text = f"**Yes, in {better}.** The weights are for {better} only, and medley refuses them for anything else."
    if others := ", ".join(one.task for one in result.outcomes if one.task not in result.improved):
        text += f" They are not better in {others}: use {old} for that."
    if unchecked := ", ".join(result.unchecked):
        text += (
            f" Not trained and not checked, for lack of scans or subjects: {unchecked}. The training may have harmed "
            f"that; use {old} for it."
        )
    return text


def cells(one: Outcome) -> tuple[str, ...]:
    """The line of a table with the columns `HEADERS`."""
    before, after = (written(one.score, value) for value in (one.before, one.after))
    difference, low, high = (
        written(one.score, value, signed=True)
        for value in (one.difference.value, one.difference.low, one.difference.high)
    )
    if np.isfinite(one.difference.low):
        difference += f" [{low}, {high}]"
    counts = str(one.subjects), str(one.records)
    return one.task, name_of(one.score), before, after, difference, *counts, _WORDS[one.verdict]


def _training(result: Adaptation) -> Iterable[str]:
    recipe, old = result.recipe, result.old.description
    yield f"Started from {old.name} (SHA-256 {result.old.sha256})."
    tasks = [one for one in result.store.manifest.tasks if result.store.records("train", one)]
    for task in tasks:
        train, valid = (result.store.records(split, task) for split in ("train", "valid"))
        yield (
            f"{task}: {len({one.subject for one in train})} subjects in {len(train)} records to train on, "
            f"{len({one.subject for one in valid})} in {len(valid)} held back."
        )
    taken = float(result.new.description.training["seconds"])
    yield (
        f"{recipe.steps:,} steps, {taken / 60:.1f} minutes of computing, random seed {recipe.seed}; a step was "
        f"measured as {result.seconds:.3g} s. The weights file contains the recipe."
    )


def _simulation(result: Adaptation) -> Iterable[str]:
    """The noise of the scans and the simulation; nothing for predictors and given stores."""
    if result.plan is None or not result.plan.noise:
        return
    yield "## The scans and the simulation"
    rows = []
    for task in result.plan.tasks:
        found = [one for one in result.plan.noise.values() if one.task == task]
        levels, ratios = _range([one.level for one in found]), _range([one.coarseness for one in found])
        rows.append((task, str(len(found)), f"{levels} {found[0].unit}", ratios))
    yield markdown_table(("task", "scans", "finest noise", "coarseness"), rows)
    yield (
        "Lowest, median and highest standard deviation of the finest noise, and the noise averaged over 2 x 2 pixels "
        "divided by it: 0.5 for white noise, more for smooth reconstruction kernels. On grids wider than "
        f"{WIDEST_PIXEL:g} mm both contain anatomy."
    )
    yield "The inputs were simulated with these parameters:"
    yield "\n".join(f"* {task}: `{json.dumps(spec)}`" for task, spec in result.plan.degradations.items())


def _limits(result: Adaptation) -> Iterable[str]:
    if not result.old.description.task:
        yield "Simulated degradations only; real scans of low quality may look different."
    yield "Checked on a few subjects of the same source: this does not tell how the weights do elsewhere."
    yield "The scores do not see everything: look at results of your own before you use them."


def _range(values: Sequence[float]) -> str:
    known = [value for value in values if np.isfinite(value)]
    return ", ".join(f"{value:.3g}" for value in (min(known), np.median(known), max(known))) if known else "–"
