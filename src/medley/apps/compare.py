"""`medley compare`: trains and scores the methods of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medley.apps._outputs import check_outputs
from medley.apps._terminal import progress, say
from medley.runtime.extras import require_extra
from medley.runtime.text import counted


def compare(
    recipe: Path,
    output: Path,
    *,
    panels: Path | None = None,
    settings: Sequence[str] = (),
    jobs: int = 1,
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Train and score every method with every seed, and write the rows and, to `panels`, pictures of one record.

    Finished runs are in the output folder of the recipe; only the others are done.
    """
    require_extra("train")
    from medley.data.store import Store
    from medley.experiments import compare as comparing
    from medley.plots.panels import write_panels
    from medley.scoring.rows import write_scores
    from medley.training.recipe import read_yaml

    what = f"the recipe {recipe}"
    comparison, entrants = comparing.read_comparison(read_yaml(recipe, settings), what)
    check_outputs(recipe, [output] if panels is None else [output, panels], overwrite=overwrite)
    with progress("comparing", quiet=quiet) as update:
        rows = comparing.compare(comparison, entrants, jobs=jobs, progress=update)
    about = comparing.header(comparison, entrants, f"medley compare {recipe}")
    write_scores(rows, output, header=about, overwrite=overwrite)
    if panels is not None:
        store = Store(entrants[0].recipes[0].store)
        files = comparing.weights_of_first_seed(comparison, entrants)
        write_panels(store, comparison.split, files, panels, overwrite=overwrite)
    say(f"{counted(len(rows), 'row')} -> {output}; medley report {output} evaluates them", quiet=quiet)
