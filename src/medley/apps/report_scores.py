"""`medley report`: a page, Markdown, charts and terminal tables from files of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from rich.text import Text

from medley.apps._tables import new_table, show
from medley.apps._terminal import say
from medley.errors import MedleyError
from medley.experiments.curves import curves
from medley.experiments.report import Experiment, write_report
from medley.experiments.report_tables import Cell, Table, tables, variant_tables
from medley.scoring.rows import ScoreRow, read_scores
from medley.scoring.statistics import MethodDifferences, compare_methods
from medley.scoring.summary import latest


def report(
    sources: Sequence[Path],
    output: Path,
    *,
    baseline: str | None = None,
    panels: Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Write the report of files of scores, and print its tables.

    Files whose header names the same experiment are combined: more methods or more seeds on the same records. Of the
    validation during training, the last step is used.

    Parameters
    ----------
    output: a folder or FILE.html. baseline: None takes the one of the header, else the first method.
    panels: a folder of PNG images for the page.
    """
    if panels is not None and not panels.is_dir():
        raise MedleyError(f"{panels}: is not a folder of images")
    experiments = read_experiments(sources, baseline)
    written = write_report(experiments, output, panels=panels, overwrite=overwrite)
    for experiment in experiments:
        show_tables(experiment.title, [*tables(experiment.comparison), *variant_tables(experiment.variants)])
    say(f"{len(written)} files -> {output}" if len(written) > 1 else f"report -> {output}", quiet=quiet)


def show_tables(title: str, found: Sequence[Table]) -> None:
    """Print tables; `title` names the experiment."""
    for table in found:
        lines = new_table(*table.columns)
        lines.title, lines.title_justify = f"{title}: {table.title}", "left"
        for cells in table.rows:
            lines.add_row(*(_text(cell) for cell in cells))
        show(lines)


def read_experiments(sources: Sequence[Path], baseline: str | None = None) -> list[Experiment]:
    """The comparisons in files of scores, in the order of their first rows.

    Raises
    ------
    MedleyError: a file is not a table of scores; their rows cannot be compared.
    """
    rows: dict[str, list[ScoreRow]] = {}
    headers: dict[str, dict[str, str]] = {}
    for source in sources:
        found, header = read_scores(source)
        name = header.get("experiment", "")
        rows.setdefault(name, []).extend(latest(found))
        headers[name] = {**header, **headers.get(name, {})}
    return [
        Experiment(
            title=name or sources[0].stem,
            comparison=compare_methods(rows[name], baseline=baseline or headers[name].get("baseline")),
            header=headers[name],
            variants=_variants(rows[name], headers[name]),
            curves=curves(rows[name]),
        )
        for name in rows
    ]


def _variants(rows: Sequence[ScoreRow], header: Mapping[str, str]) -> list[MethodDifferences]:
    """The comparison of each variant with its original, where the rows have both."""
    try:
        pairs = TypeAdapter(dict[str, str]).validate_json(header.get("variants", "{}"))
    except ValidationError as error:
        raise MedleyError("the header of a table of scores is damaged: variants is not a list of methods") from error
    there = {row.method for row in rows}
    return [
        compare_methods([row for row in rows if row.method in (variant, original)], baseline=original)
        for variant, original in pairs.items()
        if {variant, original} <= there
    ]


def _text(cell: Cell) -> Text:
    lines = [Text(line) for line in (cell.text, cell.below) if line]
    if cell.verdict:
        lines[-1].stylize("bold")
    return Text("\n").join(lines)
