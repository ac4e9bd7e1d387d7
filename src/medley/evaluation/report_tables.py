"""The tables of a comparison: cells of one to three lines, the same on paper, on a page and in the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import stdev

from medley.evaluation.statistics import Comparison, Estimate, Finding, Method

Cell = tuple[tuple[str, bool], ...]  # lines: text, and whether it is bold

_NAMES = {
    "dice": "Dice", "dose_score": "dose score (Gy)", "dvh_score": "DVH score (Gy)", "auroc": "AUROC",
    "balanced_accuracy": "balanced accuracy", "psnr": "PSNR (dB)", "ssim": "SSIM", "rmse": "RMSE",
}  # fmt: skip
_FORMATS = {"psnr": ".2f", "ssim": ".4f", "rmse": ".3g"}  # others .3f
_NONE = "–"


@dataclass(frozen=True)
class Table:
    """Cells under their headings; the first table is of all methods, the next ones are of a task each."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def markdown(self) -> str:
        """The table in Markdown, lines of a cell apart by <br>."""

        bar = r"\|"

        def line(cells: list[str]) -> str:
            return f"| {' | '.join(cell.replace('|', bar) for cell in cells)} |"

        rows = [
            line(["<br>".join(f"**{text}**" if strong else text for text, strong in cell) for cell in cells])
            for cells in self.rows
        ]
        return "\n".join([line(list(self.columns)), line(["---"] * len(self.columns)), *rows])


def tables(comparison: Comparison) -> list[Table]:
    """First what every method costs and gives in all; then the scores of each task, and of its parts (structures)."""
    found = [_overall(comparison)]
    for task, scores in comparison.tasks.items():
        whole = tuple(score for score in scores if " " not in score)
        found.append(_scores(comparison, task, whole, task))
        if parts := tuple(score for score in scores if " " in score):
            found.append(_parts(comparison, task, parts))
    return found


def name_of(score: str) -> str:
    """A score for people, with its unit; of a part ("dice Larynx") the part."""
    first, _, part = score.partition(" ")
    return part or _NAMES[first]


def difference_of(score: str, difference: Estimate) -> str:
    """ "+0.021 [+0.009, +0.034]", in the digits of the score."""
    return _interval(difference, f"+{_format(score)}")


def _overall(comparison: Comparison) -> Table:
    mains = {task: scores[0] for task, scores in comparison.tasks.items()}
    heads = ("method", "parameters", "GFLOPs", "training", "seeds", f"Δ over {comparison.baseline}, %")
    rows = [
        (
            _cell(method.name),
            _cell(_millions(method.parameters)),
            _cell(f"{method.flops / 1e9:.3g}"),
            _cell(_time(method.seconds)),
            _cell(str(method.seeds)),
            _delta(method),
            *(
                _value(comparison.findings.get((task, score, method.name)), score, short=True)
                for task, score in mains.items()
            ),
        )
        for method in comparison.methods
    ]
    return Table("All tasks", (*heads, *(f"{task}: {name_of(score)}" for task, score in mains.items())), tuple(rows))


def _scores(comparison: Comparison, task: str, scores: tuple[str, ...], title: str) -> Table:
    rows = [
        (
            _cell(method.name),
            *(_value(comparison.findings.get((task, score, method.name)), score) for score in scores),
        )
        for method in comparison.methods
    ]
    return Table(title, ("method", *map(name_of, scores)), tuple(rows))


def _parts(comparison: Comparison, task: str, scores: tuple[str, ...]) -> Table:
    names = [method.name for method in comparison.methods]
    rows = [
        (_cell(name_of(score)), *(_value(comparison.findings.get((task, score, name)), score) for name in names))
        for score in scores
    ]
    return Table(f"{task}: {_NAMES[scores[0].split()[0]]} of each structure", ("structure", *names), tuple(rows))


def _value(finding: Finding | None, score: str, *, short: bool = False) -> Cell:
    """The score; below it the difference and the spread over the seeds, unless `short`."""
    if finding is None:
        return _cell(_NONE)
    lines = [(_interval(finding.estimate, _format(score)), False)]
    if finding.difference is not None and not short:
        lines.append((difference_of(score, finding.difference), finding.difference.excludes_zero))
    if len(finding.seeds) > 1 and not short:
        lines.append((f"± {stdev(finding.seeds):{_format(score)}}", False))
    return tuple(lines)


def _delta(method: Method) -> Cell:
    if method.delta is None:
        return _cell(_NONE)
    return ((_interval(method.delta, "+.2f"), method.delta.excludes_zero),)


def _cell(text: str) -> Cell:
    return ((text, False),)


def _format(score: str) -> str:
    return _FORMATS.get(score.split()[0], ".3f")


def _interval(estimate: Estimate, form: str) -> str:
    value, low, high = (f"{number:{form}}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]".replace("-", "−")


def _millions(count: float) -> str:
    return f"{count / 1e6:.3g} M" if count >= 1e6 else f"{count / 1e3:.3g} k"


def _time(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"
