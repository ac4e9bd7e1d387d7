"""`medley describe`: writes into a weights file what the scans it was trained on look like."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medley.apps._outputs import check_outputs
from medley.apps._terminal import progress, say
from medley.errors import MedleyError
from medley.models import weights
from medley.runtime.extras import require_extra
from medley.runtime.text import counted


def describe(
    model: Path, data: Path, output: Path | None = None, *, overwrite: bool = False, quiet: bool = False
) -> None:
    """Compute the description of the training scans from the store of a training, and write it into the weights file.

    The tensors stay the same. `medley train` does this by itself; weights of an older medley or of another program
    need it.

    Parameters
    ----------
    model: the weights file. data: the store that it was trained on.
    output: another file to write; None replaces `model`.

    Raises
    ------
    MedleyError: not a weights file; the store has none of its tasks, or too few training subjects of each; the output
        exists and `overwrite` is False.
    """
    require_extra("train")
    from medley.data.store import Store
    from medley.data.training_scans import describe_scans
    from medley.inference.training_scans import FEWEST

    if output is not None:
        check_outputs([model, data], [output], overwrite=overwrite)
    description = weights.describe(model)
    store = Store(data)
    tasks = [str(description.task["name"])] if description.task else description.tasks
    with progress("describing the training scans", quiet=quiet) as update:
        found = describe_scans(store, tasks, lambda done, total, name: update(done, total, f"describing {name}"))
    if not found:
        raise MedleyError(
            f"{data}: holds no {FEWEST} training subjects with scans for {', '.join(tasks)}; give the store that "
            f"{description.name} was trained on"
        )
    weights.describe_anew(model, output or model, replace(description, training_scans=found))
    for name in tasks:
        scans = found.get(name)
        subjects = f"{counted(len(set(scans['subjects'])), 'subject')}" if scans else "too few subjects: no check"
        say(f"{name}: {subjects}", quiet=quiet)
    say(f"{description.name} -> {output or model}", quiet=quiet)
