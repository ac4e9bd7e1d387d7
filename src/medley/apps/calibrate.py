"""`medley calibrate`: measures how wrong a restorer may be, and writes that into its weights file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import medley
from medley.apps._findings import csv_text
from medley.apps._outputs import check_outputs, write_text
from medley.apps._tables import show_rows
from medley.apps._terminal import progress, say
from medley.errors import MedleyError
from medley.models import weights
from medley.runtime.extras import require_extra

if TYPE_CHECKING:
    from medley.experiments.calibrate import Coverage


def calibrate(
    model: Path,
    data: Path,
    output: Path | None = None,
    *,
    table: Path | None = None,
    device: str = "auto",
    seed: int = 0,
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Fit and calibrate the expected error of a restorer, and write it into its file. The tensors stay the same.

    Parameters
    ----------
    model: the weights file. data: a store with training and validation subjects.
    output: another file to write; None replaces `model`. table: a CSV file for the measured coverage.

    Raises
    ------
    MedleyError: not a weights file of a restorer; see `medley.experiments.calibrate.calibrate`; an output exists and
        `overwrite` is False.
    """
    require_extra("train")
    from medley.data.store import Store
    from medley.experiments.calibrate import calibrate as run
    from medley.inference.expected_error import LEVEL
    from medley.inference.loading import load_restorer

    check_outputs([model, data], [one for one in (output, table) if one], overwrite=overwrite)
    description = weights.describe(model)
    if description.task:
        raise MedleyError(f"{model}: the network predicts {', '.join(description.tasks)}; expected a restorer")
    with progress("calibrating", quiet=quiet) as update:
        models, coverage = run(load_restorer(model, device=device), Store(data), seed=seed, progress=update)
    found = {**description.expected_error, **{name: one.model_dump(mode="json") for name, one in models.items()}}
    if table is not None:
        header = {f"coverage of {100 * LEVEL:.0f} % intervals": f"{description.name}, medley {medley.__version__}"}
        write_text(table, csv_text(header, [*map(asdict, coverage)]), overwrite=overwrite)
    weights.describe_anew(model, output or model, replace(description, expected_error=found))
    show_rows(
        ("task", "strength", "records", "subjects", "inside the interval", "worst record", "mean half-width"),
        map(_cells, coverage),
    )
    say(f"{description.name} -> {output or model}", quiet=quiet)


def _cells(one: Coverage) -> Sequence[str]:
    strength = "all" if math.isnan(one.low) else f"{one.low:.3g} to {one.high:.3g}"
    shares = (f"{100 * one.coverage:.1f} %", f"{100 * one.least:.1f} %")
    return (one.task, strength, str(one.records), str(one.subjects), *shares, f"{one.half_width:.3g} {one.unit}")
