"""`medley tasks` and `medley models`: tables for people, JSON for machines."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from medley.tasks import TASKS


def tasks(*, as_json: bool = False) -> None:
    """Print the tasks."""
    if as_json:
        print(json.dumps({name: asdict(task) for name, task in TASKS.items()}, indent=2))
        return
    table = new_table("task", "what it does", "modality", "unit", "range", "scored in", "undoes")
    for task in TASKS.values():
        spec = dict(task.degradation)
        undone = f"{spec.pop('name')} ({', '.join(f'{key} {value:g}' for key, value in spec.items())})"
        span = "0 to 99.9th percentile" if task.scaled else _span(task.range)
        table.add_row(task.name, task.title, task.modality, task.unit, span, _span(task.window), undone)
    show(table)


def models(*, as_json: bool = False) -> None:
    """Print the packaged models and the networks."""
    from medley.models import weights, zoo

    found = {name: weights.describe(path) for name, path in weights.packaged().items()}
    if as_json:
        print(json.dumps({name: asdict(description) for name, description in found.items()}, indent=2))
        return
    table = new_table("model", "network", "tasks", "steps", "PSNR on other people, dB")
    for name, description in found.items():
        record = description.training
        psnr = ", ".join(f"{task} {value:.2f}" for task, value in record.get("validation_psnr", {}).items())
        steps = f"{record['steps']:,}" if "steps" in record else ""
        table.add_row(name, description.architecture, ", ".join(description.tasks), steps, psnr)
    if found:
        show(table)
    else:
        print("No models are packaged.")
    print(f"Networks to train: {', '.join(zoo.CONFIGURATIONS)}")


def new_table(*columns: str) -> Table:
    """A calm table with these headings."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def show(table: Table) -> None:
    """Print a table on stdout; where that is no terminal, as wide as it needs."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 400
    console.print(table)


def _span(span: tuple[float, float]) -> str:
    return f"{span[0]:g} to {span[1]:g}"
