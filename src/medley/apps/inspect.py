"""`medley inspect`: what a network decides for the samples of each task, as a table, figures and a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import medley
from medley.apps._findings import Cell, Findings, number, write_findings
from medley.apps._outputs import check_outputs
from medley.apps._terminal import progress, say
from medley.runtime.extras import require_extra
from medley.runtime.text import counted

if TYPE_CHECKING:
    from PIL import Image

    from medley.data.store import Store
    from medley.experiments.internals import Internals

RECORDS_SHOWN = 4  # whose attention is drawn


def inspect(
    model: str,
    data: Path,
    output: Path,
    *,
    split: str = "valid",
    slices: int = 4,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Read the decisions of a network on the records of a store, and write OUTPUT/inspect.csv, .html and figures.

    Parameters
    ----------
    model: a packaged name or a weights file. split, slices: see `medley.experiments.internals.look_inside`.
    """
    require_extra("train")
    from medley.data.store import Store
    from medley.experiments.internals import look_inside
    from medley.inference.loading import load_network

    check_outputs([data, *([Path(model)] if Path(model).exists() else [])], [output], overwrite=overwrite)
    store = Store(data)
    loaded = load_network(model, device, "torch")
    with progress("looking inside", quiet=quiet) as update:
        found = look_inside(loaded, store, split=split, slices=slices, progress=update)
    write_findings(_findings(found, store, split), output, found.network, overwrite=overwrite)
    between = "" if found.between != found.between else f"; {100 * found.between:.1f} % of the variance between tasks"
    say(f"{counted(len(found.samples), 'sample')}{between} -> {output}", quiet=quiet)


def _findings(found: Internals, store: Store, split: str) -> Findings:
    rows: list[dict[str, Cell]] = []
    for one, (x, y) in zip(found.samples, found.embedding.tolist(), strict=True):
        embedded: dict[str, Cell] = {"component 1": x, "component 2": y} if found.vector else {}
        rows.append({"record": one.record, "task": one.task, "slice": one.slice, **embedded, **one.seen.numbers})
    tasks, names, means = found.means()
    notes = (
        ["Means by task over the samples; a number is a share of 1, unless its name says otherwise."] if names else []
    )
    header = {"network": found.network, "store": f"{store.path.name}, {split}", "medley": medley.__version__}
    if found.vector:
        share = " and ".join(f"{100 * one:.0f} %" for one in found.shares)
        notes.append(
            f"The embedding shows the two principal components of the {found.vector}, with {share} of its variance."
        )
    if found.between == found.between:
        notes.append(
            f"{100 * found.between:.1f} % of its variance lies between the means of the tasks (η²); 100 %: it depends "
            f"on the task only; {100 * (len(tasks) - 1) / max(len(found.samples) - 1, 1):.1f} %: by chance."
        )
        header["between tasks"] = f"{found.between:.6g}"
    return Findings(
        name="inspect",
        kind="medley inspect",
        headline=f"{counted(len(found.samples), 'sample')} of {store.path.resolve().name}, {split}",
        notes=notes,
        header=header,
        rows=rows,
        figures=_figures(found, store),
        tables=[
            ("Means", ("", *tasks), [(name, *(number(x, 3) for x in means[:, k])) for k, name in enumerate(names)])
        ],
    )


def _figures(found: Internals, store: Store) -> dict[str, tuple[str, Image.Image]]:
    from medley.plots.heatmaps import Heatmap, heatmaps
    from medley.plots.maps import MapRow, attention, choices
    from medley.plots.scatter import scatter

    figures: dict[str, tuple[str, Image.Image]] = {}
    if found.vector:
        axes = [f"component {k + 1} ({100 * share:.0f} % of the variance)" for k, share in enumerate(found.shares)]
        groups = [one.task for one in found.samples]
        heading = f"Embedding of the {found.vector}"
        figures["embedding"] = heading, scatter(found.embedding, groups, found.network, (axes[0], axes[1]))
    tasks, names, means = found.means()
    if names:
        table = Heatmap(found.network, names, tasks, means.T, max(1.0, float(means.max())))
        figures["means"] = "Means by task", heatmaps([table])
    rows = []
    for task in tasks:
        of_task = [one for one in found.samples if one.task == task and one.seen.maps]
        if of_task:
            one = of_task[len(of_task) // 2]
            rows.append(MapRow(task, _shown(store, one.record, one.slice), one.seen.maps))
    if rows:
        figures["experts"] = "The first expert of every pixel", choices(rows, "expert")
    rows = [
        MapRow(
            one.record, _shown(store, one.record, None), {name: _in_plane(x) for name, x in one.seen.attention.items()}
        )
        for one in found.samples[:: max(1, len(found.samples) // RECORDS_SHOWN)][:RECORDS_SHOWN]
        if one.seen.attention
    ]
    if rows:
        figures["attention"] = "Attention between targets at the deepest stage", attention(rows)
    return figures


def _in_plane(values: np.ndarray) -> np.ndarray:
    """The layer in the middle of (slice, row, column); (row, column) as it is."""
    return values[len(values) // 2] if values.ndim == 3 else values


def _shown(store: Store, name: str, index: int | None) -> np.ndarray:
    """A slice of a record (None: the middle one), or a photograph (row, column, 3), from 0 to 1."""
    (record,) = (each for each in store.records() if each.id == name)
    array = store.array(record, "input")
    if len(array.shape) == 3:
        image = np.moveaxis(array[...], 0, -1).astype(np.float32)
        image = image if image.shape[-1] == 3 else image[..., 0]
    else:
        image = record.normalisation.apply(array[0, array.shape[1] // 2 if index is None else index])
    low, high = float(image.min()), float(image.max())
    return (image - low) / max(high - low, 1e-6)
