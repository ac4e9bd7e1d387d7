"""Charts of scores against the strength of the degradation, and of the curves of the CT phantom, as SVG."""

from __future__ import annotations

from collections.abc import Sequence

from medley.experiments.report_tables import name_of
from medley.metrics.measures import MEASURES, label
from medley.physics import DEGRADATIONS
from medley.plots import charts
from medley.scoring.phantom import PHANTOM, TASK
from medley.scoring.rows import ScoreRow
from medley.scoring.summary import frequency_curves, strength_curves
from medley.tasks import TASKS


def curves(rows: Sequence[ScoreRow]) -> dict[str, str]:
    """The charts by the names of their files: of records with at least three strengths, and of the phantom."""
    found = {}
    for (task, score), points in strength_curves(rows).items():
        up = name_of(score)
        title = f"{task}: {up.partition(' (')[0]} of each record"
        found[f"{task}-{score}-strength"] = charts.curves(points, title, _strength_name(task), up)
    for (dose, curve), points in frequency_curves(rows).items():
        title = f"{dose}: {MEASURES[curve].title}"
        found[f"{dose}-{curve}"] = charts.curves(points, title, "spatial frequency (1/mm)", label(curve))
    return found


def _strength_name(task: str) -> str:
    known = TASKS.get(TASK if task == PHANTOM else task)
    if known is None:
        return "strength"
    kind = DEGRADATIONS[known.degradation["name"]]
    return f"{kind.strength_name}; {kind.strength_of_none:g}: not degraded"
