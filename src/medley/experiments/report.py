"""The report of comparisons: tables with intervals, charts and images, as one HTML page and as files for docs."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from PIL import Image

import medley
from medley.errors import MedleyError
from medley.experiments.report_tables import Cell, Table, in_markdown, name_of, tables, variant_tables, whole, written
from medley.metrics.targets import higher_is_better
from medley.plots import charts
from medley.runtime.atomic import replacing
from medley.scoring.statistics import FEWEST_SUBJECTS, FLOOR, MethodDifferences, MethodScore, verdict

PAGE, TABLE = "report.html", "table.md"  # the files in the folder of a report, with one SVG file per chart
_CASES = {"auroc": "probability of the true class"}  # shown in box plots if single cases have no such score
_NO_BOXES = ("balanced_accuracy",)  # the same cases as AUROC


@dataclass(frozen=True)
class Experiment:
    """One comparison with its title and header.

    Attributes
    ----------
    title: for display. header: as returned by `read_scores`.
    variants: the comparison of each variant with the method that it is a variant of.
    curves: further charts as SVG by the names of their files, see `medley.experiments.curves`.
    """

    title: str
    comparison: MethodDifferences
    header: Mapping[str, str]
    variants: Sequence[MethodDifferences] = ()
    curves: Mapping[str, str] = field(default_factory=dict)


def write_report(
    experiments: Sequence[Experiment], output: Path, *, panels: Path | None = None, overwrite: bool = False
) -> list[Path]:
    """Write FILE.html, or into a folder the page, the tables as Markdown and every chart as an SVG file.

    Parameters
    ----------
    panels: a folder of PNG images for the page, shown in the order of their names.

    Returns
    -------
    The written files, the page first.

    Raises
    ------
    MedleyError: a file exists and `overwrite` is False, or it cannot be written; `output` has another suffix; `panels`
        holds no PNG image, or one that cannot be read.
    """
    shown = page(experiments, _images(panels) if panels is not None else {})
    if output.suffix.lower() in (".html", ".htm"):
        texts = {output: shown}
    elif output.suffix and not output.is_dir():
        raise MedleyError(f"{output}: a report is a folder or a file that ends in .html")
    else:
        texts = {output / PAGE: shown, output / TABLE: markdown(experiments)}
        for experiment in experiments:
            prefix = f"{experiment.title}-" if len(experiments) > 1 else ""
            for task, scores in experiment.comparison.tasks.items():
                for score in whole(scores):
                    for name, chart in _charts(experiment.comparison, task, score).items():
                        texts[output / f"{_plain(prefix + name)}.svg"] = charts.standalone(chart)
            for name, chart in experiment.curves.items():
                texts[output / f"{_plain(prefix + name)}.svg"] = charts.standalone(chart)
    if not overwrite and (standing := next((path for path in texts if path.exists()), None)):
        raise MedleyError(f"{standing}: exists already; choose another name or --overwrite")
    for path, text in texts.items():
        with replacing(path, overwrite=overwrite) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return list(texts)


def markdown(experiments: Sequence[Experiment]) -> str:
    """The tables and the list of differences, in Markdown."""
    blocks = []
    for experiment in experiments:
        blocks.append(f"# {in_markdown(experiment.title)}")
        for table in (*tables(experiment.comparison), *variant_tables(experiment.variants)):
            blocks += [f"## {in_markdown(table.title)}", table.markdown()]
        blocks.append("\n".join(f"* {in_markdown(line)}" for line in reading(experiment.comparison)))
        blocks.append(in_markdown(_method_note(experiment.comparison)))
    return "\n\n".join(blocks) + "\n"


def page(experiments: Sequence[Experiment], images: Mapping[str, bytes]) -> str:
    """The page as HTML, without external resources.

    Parameters
    ----------
    images: PNG files by caption.
    """
    template = Template(files("medley.experiments").joinpath("report.html").read_text(encoding="utf-8"))
    several = len(experiments) > 1
    return template.substitute(
        title=escape(", ".join(experiment.title for experiment in experiments)),
        chart_style=charts.STYLE,
        experiments="\n".join(_section(experiment, titled=several) for experiment in experiments),
        images=_figures(images),
        version=medley.__version__,
        date=date.today().isoformat(),
    )


def reading(comparison: MethodDifferences) -> list[str]:
    """For each method except the baseline: the scores that clearly differ from the baseline, and those that do not."""
    lines = []
    for method in comparison.methods:
        found: dict[str, list[str]] = {"better": [], "worse": [], "": []}
        for task, scores in comparison.tasks.items():
            for score in whole(scores):
                finding = comparison.findings.get((task, score, method.name))
                if finding is not None and finding.difference is not None:
                    look = verdict(finding.difference, higher=higher_is_better(score))
                    value = written(score, finding.difference.value, signed=True)
                    found[look].append(f"{task}: {name_of(score)} {value}")
        words = {"better": "Better", "worse": "Worse", "": "No clear difference"}
        sentences = [f"{words[look]}: {'; '.join(where)}." for look, where in found.items() if where]
        if sentences:
            lines.append(f"{method.name} compared with {comparison.baseline}. {' '.join(sentences)}")
    return lines


def _section(experiment: Experiment, *, titled: bool) -> str:
    comparison = experiment.comparison
    facts = {
        "methods": len(comparison.methods),
        "trainings per method": max(method.seeds for method in comparison.methods),
        "subjects": comparison.subjects,
        "cases": comparison.cases,
    }
    figures = "".join(
        f'<div class="figure"><b>{n:,}</b><span class="soft small">{name}</span></div>' for name, n in facts.items()
    )
    first, *others = tables(comparison)
    parts = [f"<h2>{escape(experiment.title)}</h2>"] if titled else []
    parts += [f'<section class="figures">{figures}</section>', _html(first)]
    parts += ["<ul>", *(f"<li>{escape(line)}</li>" for line in reading(comparison)), "</ul>"]
    for table in others:
        parts.append(_html(table))
        if table.score:
            parts += [f"<figure>{chart}</figure>" for chart in _charts(comparison, table.task, table.score).values()]
    parts += [_html(table) for table in variant_tables(experiment.variants)]
    parts += [f"<figure>{chart}</figure>" for chart in experiment.curves.values()]
    parts.append(f'<p class="soft small">{escape(_method_note(comparison))}</p>')
    known = {key: value for key, value in experiment.header.items() if key not in ("task", "variants")}
    if known:
        rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in known.items())
        parts.append(f'<h3>Origin</h3><table class="facts">{rows}</table>')
    return "\n".join(parts)


def _html(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join(f"<tr>{''.join(map(_cell, cells))}</tr>" for cells in table.rows)
    return (
        f'<h3>{escape(table.title)}</h3><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    lines = [escape(line) for line in (cell.text, cell.below) if line]
    if cell.verdict:
        lines[-1] = f'<b class="{cell.verdict}">{lines[-1]}</b>'
    return f"<td>{'<br>'.join([lines[0], *(f'<span class=small>{line}</span>' for line in lines[1:])])}</td>"


def _charts(comparison: MethodDifferences, task: str, score: str) -> dict[str, str]:
    """The charts of a score of one task, by the names of their files: its means, and its cases where it has any."""
    found: dict[str, MethodScore] = {
        method.name: comparison.findings[task, score, method.name]
        for method in comparison.methods
        if (task, score, method.name) in comparison.findings
    }
    higher = bool(higher_is_better(score))
    label = f"{name_of(score)}, {'higher' if higher else 'lower'} is better"
    title = f"{task}: {name_of(score)}, mean and 95 % interval"
    drawn = {f"{task}-{score}": charts.bars(found, title, label, baseline=comparison.baseline, higher=higher)}
    if score not in _NO_BOXES:
        label = _CASES.get(score, name_of(score))
        drawn[f"{task}-{score}-cases"] = charts.boxes(found, f"{task}: {label} of each case", label)
    return drawn


def _method_note(comparison: MethodDifferences) -> str:
    return (
        f"Scores are means over the trainings (seeds); in brackets the 95 % interval of {comparison.resamples:,} "
        f"resamples of the {comparison.subjects} subjects, the same for all methods, so that differences are paired, "
        "and of the seeds of each method; with a single seed, the interval contains no variation between trainings. "
        "A difference is bold if its interval excludes 0, without correction for the number of comparisons. "
        "± is the standard deviation over the "
        f"seeds. With fewer than {FEWEST_SUBJECTS} subjects no interval is given and nothing is bold. "
        f"Δ is the mean over the tasks of the relative improvement over {comparison.baseline} in the scores of "
        f"the first table; it is not given if such a score of {comparison.baseline} is nearer to zero than {FLOOR:g}."
    )


def _images(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.glob("*.png") if path.is_file())
    if not paths:
        raise MedleyError(f"{folder}: holds no PNG images; expected the panels that medley compare writes")
    for path in paths:
        try:
            with Image.open(path) as image:
                image.verify()
        except (OSError, SyntaxError) as error:
            raise MedleyError(f"{path}: cannot be read as a PNG image: {error}") from error
    return {path.stem: path.read_bytes() for path in paths}


def _figures(images: Mapping[str, bytes]) -> str:
    shown = [
        f'<figure><img alt="{escape(name)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        f'<figcaption class="soft small">{escape(name)}</figcaption></figure>'
        for name, png in images.items()
    ]
    return f"<h2>Images</h2>{''.join(shown)}" if shown else ""


def _plain(name: str) -> str:
    """A name for a file."""
    return re.sub(r"[^\w.]+", "-", name)
