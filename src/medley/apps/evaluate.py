"""`medley evaluate`, with a progress bar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import medley
from medley.apps._outputs import check_outputs
from medley.apps._tables import show_rows
from medley.apps._terminal import progress, say
from medley.errors import MedleyError
from medley.inference.loading import load_network, load_restorer
from medley.runtime.extras import require_extra
from medley.runtime.text import counted
from medley.tasks import TASKS

if TYPE_CHECKING:
    from medley.data.store import Store


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
    from medley.scoring.summary import cells, headers, measure_table, summary

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
    show_rows(headers(), cells(summary(rows)))
    if measures := measure_table(rows):
        show_rows(measures[0], measures[1:])
    say(f"{counted(len(rows), 'row')} -> {output}", quiet=quiet)


def evaluate_on_phantom(
    models: Sequence[str],
    folder: Path,
    output: Path,
    *,
    tuning: Path | None = None,
    pictures: Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Score restorers and the unchanged input on a CT phantom (`medley.scoring.phantom`): a CSV file and tables.

    Parameters
    ----------
    tuning: a store, whose training subjects classical methods are tuned on; None: without them.
    pictures: folder for a picture of one realisation of each dose.
    """
    require_extra("train")
    if tuning is not None:
        require_extra("baselines")
    from medley.apps.report_scores import show_tables
    from medley.data.store import Store
    from medley.experiments.report_tables import tables
    from medley.plots.phantom import write_phantom
    from medley.scoring.evaluate import tuned_classical
    from medley.scoring.methods import Input, Method, Network
    from medley.scoring.phantom import PHANTOM, TASK, read_phantom, score_phantom
    from medley.scoring.rows import write_scores
    from medley.scoring.statistics import compare_methods

    sources = [folder] if tuning is None else [folder, tuning]
    check_outputs(sources, [output] if pictures is None else [output, pictures], overwrite=overwrite)
    doses = read_phantom(folder)
    methods: list[Method] = [Input(), *(Network(load_restorer(name, device=device)) for name in models)]
    with progress("evaluating", quiet=quiet) as update:
        if tuning is not None:
            methods[1:1] = tuned_classical(Store(tuning), [TASK], progress=update)
        rows = score_phantom(methods, doses, progress=update)
    write_scores(rows, output, header={"experiment": PHANTOM, "medley": medley.__version__}, overwrite=overwrite)
    if pictures is not None:
        write_phantom(methods, doses, pictures / f"{PHANTOM}.png", overwrite=overwrite)
    show_tables(PHANTOM, tables(compare_methods(rows)))
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
