"""`medley prepare` and `train`, with a progress bar."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medley.apps._settings import parse_settings
from medley.apps._terminal import progress, say
from medley.errors import MedleyError
from medley.runtime.extras import require_extra
from medley.runtime.text import counted
from medley.tasks import task_named


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
    from medley.training.processes import is_main
    from medley.training.recipe import read_recipe

    quiet = quiet or not is_main()
    with progress("training", quiet=quiet) as update:
        shown: dict[str, float] = {}

        def report(now: Progress) -> None:
            nonlocal shown
            update(now.step, now.steps, f"loss {now.loss:.5f}, waiting for data {now.waiting:.0%}")
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
