"""`medley prepare` and `medley train`: the rooms of research, with a progress bar."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medley.apps.settings import parse_settings
from medley.apps.terminal import progress, say
from medley.errors import MedleyError
from medley.tasks import task_named


def prepare(
    layout: str,
    source: Path,
    store: Path,
    *,
    table: Path | None = None,
    exclude: Sequence[str] = (),
    settings: Sequence[str] = (),
    seed: int = 0,
    quiet: bool = False,
) -> None:
    """Make a store; `settings` are "task.name=value" and change the degradation of a task."""
    _need_extra("train")
    from medley.data.prepare import prepare as run

    changed: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in parse_settings(settings).items():
        task, dot, name = key.partition(".")
        if not dot:
            raise MedleyError(f"--set {key}: expected task.name=value, such as ct-denoise.dose=0.1")
        changed[task_named(task).name][name] = value
    with progress("preparing", quiet=quiet) as update:
        made = run(
            layout,
            source,
            store,
            table=table,
            exclude=exclude,
            degradations=changed,
            seed=seed,
            progress=lambda done, total, name: update(done, total, f"preparing {name}"),
        )
    say(f"{store}: {len(made.entries())} volumes", quiet=quiet)


def train(recipe: Path, settings: Sequence[str] = (), *, resume: bool = False, quiet: bool = False) -> None:
    """Train as a recipe says; tells the loss and the last validation as it goes."""
    _need_extra("train")
    from medley.training.loop import Progress
    from medley.training.loop import train as run
    from medley.training.recipe import read_recipe

    with progress("training", quiet=quiet) as update:

        def tell(now: Progress) -> None:
            psnr = "".join(f"  {task} {value:.2f} dB" for task, value in now.psnr.items())
            update(now.step, now.steps, f"loss {now.loss:.5f}{psnr}")

        weights = run(read_recipe(recipe, settings), resume=resume, progress=tell)
    say(f"weights -> {weights}", quiet=quiet)


def _need_extra(name: str) -> None:
    """Say which extra is missing before anything is imported that needs it."""
    from medley.apps.doctor import missing_of

    if missing := missing_of(name):
        raise MedleyError(f"{', '.join(missing)} is not installed; pip install 'medley[{name}]'")
