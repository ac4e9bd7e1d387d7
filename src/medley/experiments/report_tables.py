"""Tables of a comparison, for Markdown, HTML and the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import stdev

from medley.metrics.image import METRICS
from medley.metrics.measures import is_measure, label
from medley.metrics.targets import higher_is_better
from medley.scoring.statistics import (
    Estimate,
    MethodDifferences,
    MethodScore,
    MethodSummary,
    Verdict,
    verdict,
)

_NAMES = {
    "dice": "Dice", "dose_score": "dose score (Gy)", "dvh_score": "DVH score (Gy)", "auroc": "AUROC",
    "balanced_accuracy": "balanced accuracy",
}  # fmt: skip
_FORMATS = {  # others .3f
    "psnr": ".2f",
    "ssim": ".4f",
    "rmse": ".3g",
    "noise": ".2f",
    "bias": ".2f",
    "suv_bias": ".2f",
    "noise_power": ".0f",
}
_NO_MARKUP = str.maketrans({"|": r"\|", "<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " "})


@dataclass(frozen=True)
class Cell:
    """Text, an optional second line, and whether the last line is a clear difference from the baseline."""

    text: str = "–"
    below: str = ""
    verdict: Verdict = ""


@dataclass(frozen=True)
class Table:
    """Cells under their headings.

    Attributes
    ----------
    task, score: of the rows; "" if the table has several.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    task: str = ""
    score: str = ""

    def markdown(self) -> str:
        """The table in Markdown; what differs from the baseline is bold."""
        return markdown_table(map(in_markdown, self.columns), (map(_cell_in_markdown, cells) for cells in self.rows))


def markdown_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown; its texts are already in Markdown."""
    head = [*columns]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def in_markdown(text: str) -> str:
    """Text that Markdown shows as it is: names from recipes must not become HTML or end a cell of a table."""
    return text.translate(_NO_MARKUP)


def tables(comparison: MethodDifferences) -> list[Table]:
    """The costs and main scores of all methods, then one table per score, and for each task one of its structures and
    one of its measures.
    """
    found = [_overall(comparison)]
    for task, scores in comparison.tasks.items():
        found += [_score(comparison, task, score) for score in whole(scores)]
        measures = tuple(filter(is_measure, scores))
        parts = tuple(score for score in scores if score not in (*whole(scores), *measures))
        if parts:
            kind = _NAMES[parts[0].split()[0]]
            found.append(_parts(comparison, f"{task}: {kind} of each structure", "structure", task, parts))
        if measures:
            found.append(_parts(comparison, f"{task}: measures", "measure", task, measures))
    return found


def variant_tables(variants: Sequence[MethodDifferences]) -> list[Table]:
    """For each score a table of variants beside the methods that they are variants of.

    Parameters
    ----------
    variants: the comparison of each variant with its method, which is the baseline.
    """
    scores = dict.fromkeys(score for one in variants for each in one.tasks.values() for score in whole(each))
    return [_variants(variants, score) for score in scores]


def _variants(variants: Sequence[MethodDifferences], score: str) -> Table:
    rows = []
    for one in variants:
        for method in one.methods:
            for task in one.tasks:
                finding, original = (one.findings.get((task, score, name)) for name in (method.name, one.baseline))
                if method.name != one.baseline and finding and original:
                    estimates = (Cell(_interval(each.estimate, score)) for each in (original, finding))
                    rows.append((Cell(method.name), Cell(task), *estimates, _difference(finding, score)))
    columns = ("variant", "task", "original", "variant", "difference")
    return Table(f"Variants: {name_of(score)}", columns, tuple(rows))


def whole(scores: tuple[str, ...]) -> tuple[str, ...]:
    """The scores of a task as a whole, without measures and those of its parts ("dice Larynx")."""
    return tuple(score for score in scores if score in METRICS or score in _NAMES)


def name_of(score: str) -> str:
    """A score for people, with its unit; of a part ("dice Larynx") the part."""
    if score in METRICS:
        return METRICS[score].title
    if is_measure(score):
        return label(score)
    return _NAMES[score] if score in _NAMES else score.partition(" ")[2]


def written(score: str, number: float, *, signed: bool = False) -> str:
    """A value of a score in its digits, with a true minus and none before 0; "–" where there is no number."""
    if number != number:
        return "–"
    sign = "+" if signed else ""
    text = f"{number:{sign}{_FORMATS.get(score.split()[0], '.3f')}}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def _overall(comparison: MethodDifferences) -> Table:
    mains = [(task, scores[0]) for task, scores in comparison.tasks.items()]
    # Older tables of scores do not have the steps.
    steps = any(method.steps for method in comparison.methods)
    heads = ("method", "parameters", "GFLOPs", *(("steps",) if steps else ()), "training", "seeds")
    rows = [
        (
            Cell(method.name),
            Cell(_count(method.parameters)),
            Cell(f"{method.flops / 1e9:.3g}"),
            *((Cell(f"{method.steps:,.0f}"),) if steps else ()),
            Cell(_time(method.seconds)),
            Cell(str(method.seeds)),
            _delta(method),
            *(_mean(comparison.findings.get((*main, method.name)), main[1]) for main in mains),
        )
        for method in comparison.methods
    ]
    means = (f"{task}: {name_of(score)}" for task, score in mains)
    return Table("All tasks", (*heads, f"Δ over {comparison.baseline}, %", *means), tuple(rows))


def _score(comparison: MethodDifferences, task: str, score: str) -> Table:
    rows = []
    for method in comparison.methods:
        finding = comparison.findings.get((task, score, method.name))
        spread = stdev(finding.seeds) if finding and len(finding.seeds) > 1 else float("nan")
        mean, difference = (
            Cell(_interval(finding.estimate, score)) if finding else Cell(),
            _difference(finding, score),
        )
        rows.append((Cell(method.name), mean, difference, Cell(written(score, spread))))
    columns = ("method", name_of(score), f"difference to {comparison.baseline}", "± over seeds")
    return Table(f"{task}: {name_of(score)}", columns, tuple(rows), task, score)


def _parts(comparison: MethodDifferences, title: str, head: str, task: str, scores: tuple[str, ...]) -> Table:
    """A line for each score, a column for each method."""
    names = [method.name for method in comparison.methods]
    rows = []
    for score in scores:
        cells = [_part(comparison.findings.get((task, score, name)), score) for name in names]
        rows.append((Cell(name_of(score)), *cells))
    return Table(title, (head, *names), tuple(rows), task)


def _mean(finding: MethodScore | None, score: str) -> Cell:
    if finding is None:
        return Cell()
    return Cell(written(score, finding.estimate.value), _range(finding.estimate, score))


def _part(finding: MethodScore | None, score: str) -> Cell:
    if finding is None:
        return Cell()
    difference = _difference(finding, score)
    below = difference.text if finding.difference is not None else ""
    return Cell(_interval(finding.estimate, score), below, difference.verdict)


def _difference(finding: MethodScore | None, score: str) -> Cell:
    if finding is None or finding.difference is None:
        return Cell()
    look = verdict(finding.difference, higher=higher_is_better(score))
    return Cell(_interval(finding.difference, score, signed=True), verdict=look)


def _delta(method: MethodSummary) -> Cell:
    if method.delta is None:
        return Cell()
    value, low, high = (
        f"{number:+.2f}".replace("-", "−") for number in (method.delta.value, method.delta.low, method.delta.high)
    )
    if method.delta.low != method.delta.low:
        return Cell(value)
    return Cell(f"{value} [{low}, {high}]", verdict=verdict(method.delta, higher=True))


def _interval(estimate: Estimate, score: str, *, signed: bool = False) -> str:
    return f"{written(score, estimate.value, signed=signed)} {_range(estimate, score, signed=signed)}".rstrip()


def _range(estimate: Estimate, score: str, *, signed: bool = False) -> str:
    if estimate.low != estimate.low:  # too few subjects for an interval
        return ""
    return f"[{written(score, estimate.low, signed=signed)}, {written(score, estimate.high, signed=signed)}]"


def _cell_in_markdown(cell: Cell) -> str:
    lines = [in_markdown(line) for line in (cell.text, cell.below) if line]
    if cell.verdict:
        lines[-1] = f"**{lines[-1]}**"
    return "<br>".join(lines)


def _count(number: float) -> str:
    return f"{number / 1e6:.3g} M" if number >= 1e6 else f"{number / 1e3:.3g} k"


def _time(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"
