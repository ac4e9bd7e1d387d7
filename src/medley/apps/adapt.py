"""`medley adapt`: fine-tunes a network on the data of a department, and keeps the result if it is better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medley.apps._outputs import check_outputs, write_text
from medley.apps._tables import show_rows
from medley.apps._terminal import progress, say
from medley.errors import MedleyError
from medley.inference.loading import find
from medley.models.weights import SUFFIX
from medley.runtime.extras import require_extra
from medley.runtime.names import check_name

NOT_BETTER = 4  # exit code


def adapt(
    source: Path,
    output: Path,
    *,
    model: str,
    layout: str | None = None,
    table: Path | None = None,
    exclude: Sequence[str] = (),
    minutes: float = 30.0,
    work: Path | None = None,
    seed: int = 0,
    plugins: Sequence[Path] = (),
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Adapt a network; the weights and their card are written only if they are better in at least one task.

    Parameters
    ----------
    source, layout, table, exclude: see `medley.experiments.adapt_records.Source`. output: NAME.safetensors.
    work: None is NAME-work beside the output. plugins: see `medley.experiments.adapt.adapt`.

    Returns
    -------
    The exit code: 0, or `NOT_BETTER`.
    """
    require_extra("train")
    from medley.experiments import adapt as adapting
    from medley.experiments.adapt_card import HEADERS, card, cells, verdict_of
    from medley.experiments.adapt_records import Source

    start, beside = find(model), output.with_suffix(".md")
    if output.suffix != SUFFIX:
        raise MedleyError(f"{output}: weights are written to files that end in {SUFFIX}; choose such a name")
    name = check_name(output.stem, "the name of the weights")
    work = work or output.with_name(f"{name}-work")
    check_outputs([source, start], [output, beside], overwrite=overwrite)
    check_outputs([source, start], [output, beside, work], overwrite=True)  # the work folder may exist
    with progress("adapting", quiet=quiet) as update:
        try:
            result = adapting.adapt(
                Source(source, layout, table, exclude),
                work,
                start,
                name=name,
                minutes=minutes,
                seed=seed,
                plugins=plugins,
                progress=update,
            )
        except KeyboardInterrupt:
            say(f"{work} keeps what was done; continue with the same command", quiet=quiet)
            raise
    text = card(result, name)
    write_text(work / "card.md", text, overwrite=True)
    show_rows(HEADERS, map(cells, result.outcomes))
    say(verdict_of(result).replace("*", ""), quiet=quiet)
    if not result.improved:
        say(f"nothing was written; the card is {work / 'card.md'}", quiet=quiet)
        return NOT_BETTER
    adapting.save(result, output)
    write_text(beside, text, overwrite=overwrite)
    say(f"weights -> {output}, card -> {beside}; {work} is no longer needed", quiet=quiet)
    return 0
