"""`medley prepare`, `train` and `evaluate`, with a progress bar."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import medley
from medley.apps._outputs import check_outputs
from medley.apps._settings import parse_settings
from medley.apps._tables import new_table, show
from medley.apps._terminal import counted, progress, say
from medley.errors import MedleyError
from medley.inference.loading import load_network, load_restorer
from medley.runtime.extras import require_extra
from medley.tasks import TASKS, task_named

if TYPE_CHECKING:
    from medley.data.store import Store


def prepare(
    layout: str,
    source: Path,
    store: Path,
    *,
    table: Path | None = None,
    exclude: Sequence[str] = (),
    settings: Sequence[str] = (),
    size: int | None = None,
    seed: int = 0,
    pseudonyms: Path | None = None,
    repeats: int = 1,
    quiet: bool = False,
) -> None:
    """Make a store from a data set.

    Parameters
    ----------
    layout, source, store, table, exclude, size, seed, pseudonyms, repeats: see `medley.data.prepare.prepare`.
    settings: "TASK.NAME=VALUE", changes of the degradations.
    """
    require_extra("train")
    from medley.data.prepare import prepare as run

    changed: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in parse_settings(settings).items():
        task, dot, name = key.partition(".")
        if not dot:
            raise MedleyError(f"--set {key}: expected TASK.NAME=VALUE, such as ct-denoise.dose=0.1")
        changed[task_named(task).name][name] = value
    with progress("preparing", quiet=quiet) as update:
        made = run(
            layout,
            source,
            store,
            table=table,
            exclude=exclude,
            degradations=changed,
            size=size,
            seed=seed,
            pseudonyms=pseudonyms,
            repeats=repeats,
            progress=lambda done, total, name: update(done, total, f"preparing {name}"),
        )
    say(f"{store}: {counted(len(made.records()), 'record')}", quiet=quiet)


def train(recipe: Path, settings: Sequence[str] = (), *, resume: bool = False, quiet: bool = False) -> None:
    """Train with the settings of a recipe; the progress bar shows the loss, and every validation prints a line."""
    require_extra("train")
    from medley.training.loop import Progress
    from medley.training.loop import train as run
    from medley.training.recipe import read_recipe

    with progress("training", quiet=quiet) as update:
        shown: dict[str, float] = {}

        def report(now: Progress) -> None:
            nonlocal shown
            update(now.step, now.steps, f"loss {now.loss:.5f}")
            if now.scores != shown:
                shown = now.scores
                scores = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
                say(f"step {now.step}: {scores}", quiet=quiet)

        try:
            weights = run(read_recipe(recipe, settings), resume=resume, progress=report)
        except KeyboardInterrupt:
            say("the checkpoint has the last finished step; continue with --resume", quiet=quiet)
            raise
    say(f"weights -> {weights}", quiet=quiet)


def evaluate(
    models: Sequence[str],
    data: Path,
    output: Path,
    *,
    classical: bool = False,
    split: str = "valid",
    tasks: Sequence[str] | None = None,
    pictures: Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Score models on a store: a CSV file with one row per record and target, and a table of means on stdout.

    On a store of scans to restore, the unchanged input is scored too.

    Parameters
    ----------
    classical: also score classical methods, tuned on the training subjects of the store.
    tasks: restoration tasks; None for all of the split. pictures: folder for one picture of each task.
    """
    require_extra("train")
    if classical:
        require_extra("baselines")
    from medley.data.store import Store
    from medley.plots.figures import write_pictures
    from medley.scoring.evaluate import score_methods, tuned_classical
    from medley.scoring.methods import Input, Method, Network
    from medley.scoring.rows import write_scores
    from medley.scoring.summary import cells, headers, summary

    check_outputs(data, [output] if pictures is None else [output, pictures], overwrite=overwrite)
    store = Store(data)
    if not store.restores:
        if classical or tasks or pictures:
            raise MedleyError(
                f"{data} contains records with other targets than images; classical methods, tasks and pictures are "
                f"for restoration"
            )
        _evaluate_predictors(models, store, output, split, device, overwrite, quiet)
        return
    methods: list[Method] = [Input(), *(Network(load_restorer(name, device=device)) for name in models)]
    with progress("evaluating", quiet=quiet) as update:
        if classical:
            chosen = tasks or [task for task in TASKS if store.records(split, task)]
            methods[1:1] = tuned_classical(store, chosen, progress=update)
        rows = score_methods(methods, store, split=split, tasks=tasks, progress=update)
    header = {"experiment": f"{store.path.name}, {split}", "medley": medley.__version__}
    write_scores(rows, output, header=header, overwrite=overwrite)
    if pictures is not None:
        write_pictures(store, methods, pictures, rows=rows, split=split, tasks=tasks, overwrite=overwrite)
    table = new_table(*headers())
    for line in cells(summary(rows)):
        table.add_row(*line)
    show(table)
    say(f"{counted(len(rows), 'row')} -> {output}", quiet=quiet)


def _evaluate_predictors(
    models: Sequence[str], store: Store, output: Path, split: str, device: str, overwrite: bool, quiet: bool
) -> None:
    from medley.apps.report_scores import show_tables
    from medley.experiments.report_tables import tables
    from medley.scoring.evaluate import score_network
    from medley.scoring.rows import write_scores
    from medley.scoring.statistics import compare_methods

    if not models:
        raise MedleyError(
            f"{store.path} contains records with other targets than images; name the models to score on them"
        )
    rows = []
    with progress("evaluating", quiet=quiet) as update:
        for k, name in enumerate(models):
            update(k, len(models), f"evaluating {name}")
            one = load_network(name, device)
            seed = int(one.description.training.get("recipe", {}).get("seed", 0))
            about: dict[str, Any] = {"split": split, "method": one.description.name, "seed": seed}
            rows += score_network(one.model, one.description, store, **about)
    experiment = f"{store.path.name}, {split}"
    write_scores(rows, output, header={"experiment": experiment, "medley": medley.__version__}, overwrite=overwrite)
    show_tables(experiment, tables(compare_methods(rows)))
    say(f"{counted(len(rows), 'row')} -> {output}", quiet=quiet)
