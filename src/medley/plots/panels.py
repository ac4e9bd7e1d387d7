"""Pictures of one record of a comparison: the truth, then the prediction of each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medley.data.readers import RecordReader
from medley.data.record import INPUT, Record
from medley.data.store import Store
from medley.errors import MedleyError
from medley.inference.restorer import Restorer
from medley.metrics.targets import score_output
from medley.models import weights
from medley.plots.figures import picture, write_png
from medley.plots.histograms import histograms
from medley.plots.pictures import COLOURS, Contour, overlaid
from medley.scoring.methods import Network
from medley.scoring.scorers import drawn_masks, predict_record
from medley.targets import Target
from medley.tasks import Task

SIDE = 300  # pixels of the longer side of a picture
WINDOW = (-160.0, 240.0)  # HU: soft tissue
BODY = -500.0  # HU: denser voxels may belong to the body
_GAP, _HEAD, _FONT = 6, 44, 15

Outputs = Mapping[str, np.ndarray]


def write_panels(
    store: Store, split: str, methods: Mapping[str, Sequence[Path]], folder: str | Path, *, overwrite: bool = False
) -> list[Path]:
    """Write FOLDER/TARGET.png for every map and structures target, or FOLDER/TASK.png for every restoration task.

    For a map, the volume histograms of each structure are written too, to FOLDER/TARGET-volume.png.

    The record is the first one of the split with the most targets and structures; a volume is shown at the slice where
    the structures are largest. Dotted contours are the truth.

    Parameters
    ----------
    methods: the weights files of each method (several if it trains one network per task).

    Raises
    ------
    MedleyError: a weights file does not exist; a picture exists and `overwrite` is False.
    """
    if missing := [path for paths in methods.values() for path in paths if not path.exists()]:
        raise MedleyError(f"{missing[0]} does not exist yet; finish the comparison first")
    if store.restores:
        return _of_restorers(methods, store, split, Path(folder), overwrite)
    task = store.prediction_task()
    maps = [target for target in task.targets if target.kind == "map"]
    record = max(
        store.records(split, task.name),
        key=lambda one: (sum(one.has(target) for target in maps), sum(map(len, one.drawn.values()))),
    )
    outputs = {method: _outputs(paths, store, record) for method, paths in methods.items()}
    predicted = {name for each in outputs.values() for name in each}
    written = []
    for target in task.targets:
        if target.name in predicted and target.level == "pixel" and record.has(target):
            strip = _strip(store, task, record, target, outputs)
            written.append(write_png(strip, Path(folder) / f"{target.name}.png", overwrite=overwrite))
            masks = drawn_masks(store, record)
            if target.kind == "map" and masks:
                truth = np.asarray(store.array(record, target.name)[0])
                doses = {method: each[target.name] for method, each in outputs.items() if target.name in each}
                plots = histograms(truth, doses, masks, target.unit)
                written.append(write_png(plots, Path(folder) / f"{target.name}-volume.png", overwrite=overwrite))
    return written


def _of_restorers(
    files: Mapping[str, Sequence[Path]], store: Store, split: str, folder: Path, overwrite: bool
) -> list[Path]:
    methods = {name: [Network(Restorer(*weights.load(path))) for path in paths] for name, paths in files.items()}
    written = []
    for task in dict.fromkeys(task for each in methods.values() for method in each for task in method.tasks):
        able = [method for each in methods.values() for method in each if task in method.tasks]
        record = store.records(split, task)[0]
        written.append(write_png(picture(store, record, able), folder / f"{task}.png", overwrite=overwrite))
    return written


def _outputs(paths: Sequence[Path], store: Store, record: Record) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for path in paths:
        model, description = weights.load(path)
        found |= predict_record(model, RecordReader(store, description.tasks, description.inputs), record)
    return found


def _strip(store: Store, task: Task, record: Record, target: Target, outputs: Mapping[str, Outputs]) -> Image.Image:
    """The pictures of one target side by side, the truth first."""
    image = np.asarray(store.array(record, INPUT)[...])
    truth = np.asarray(store.array(record, target.name)[...])
    truth = truth[0] if target.kind == "map" else truth
    part = _part_to_show(store, task, record) if len(record.shape) == 3 else ...
    tiles = [_tile("truth", image, truth, None, task, record, target, part)]
    for method, each in outputs.items():
        if target.name in each:
            tiles.append(_tile(_title(store, record, target, method, each), image, each[target.name], truth, task,
                               record, target, part))  # fmt: skip
    width = sum(tile.width + _GAP for tile in tiles) + _GAP
    strip = Image.new("RGB", (width, max(tile.height for tile in tiles)), "white")
    for k, tile in enumerate(tiles):
        strip.paste(tile, (_GAP + k * (tile.width + _GAP), 0))
    return strip


def _tile(
    title: str,
    image: np.ndarray,
    output: np.ndarray,
    truth: np.ndarray | None,
    task: Task,
    record: Record,
    target: Target,
    part: Any,
) -> Image.Image:
    mm = (record.spacing[-2], record.spacing[-1]) if record.spacing else (1.0, 1.0)
    grey = image[part][0] if len(image) == 1 else np.moveaxis(image[part], 0, -1)
    window = WINDOW if task.modality == "CT" else task.range
    if target.kind == "map":
        png = overlaid(grey, mm, window=window, dose=output[part], highest=target.scale * 1.1, side=SIDE)
    else:
        png = overlaid(grey, mm, _contours(output, truth, target, part), window=window, side=SIDE)
    picture = Image.open(BytesIO(png))
    font = ImageFont.load_default(_FONT)
    needed = max(font.getlength(line) for line in title.splitlines())
    tile = Image.new("RGB", (max(picture.width, int(needed) + 4), picture.height + _HEAD), "white")
    ImageDraw.Draw(tile).text((2, 2), title, fill="black", font=font)
    tile.paste(picture, (0, _HEAD))
    return tile


def _contours(output: np.ndarray, truth: np.ndarray | None, target: Target, part: Any) -> list[Contour]:
    """Contours of the prediction, and dotted ones of the truth if given; one colour per structure."""
    contours = []
    for k in range(len(target.names)):
        colour = COLOURS[k % len(COLOURS)]
        if truth is not None:
            contours.append(Contour(truth[part][k] > 0, colour, dotted=True))
        contours.append(Contour(output[part][k] > 0.5, colour))
    return contours


def _title(store: Store, record: Record, target: Target, method: str, outputs: Outputs) -> str:
    truth = np.asarray(store.array(record, target.name)[...])
    if target.kind == "map":
        within = np.asarray(store.array(record, target.within)[0]) if target.within else None
        score = score_output(target, outputs[target.name], truth[0], within=within)["mae"]
        return f"{method}\nmean error {score:.2f} {target.unit}"
    score = score_output(target, outputs[target.name], truth, drawn=record.drawn[target.name])["dice"]
    return f"{method}\nDice {score:.3f}"


def _part_to_show(store: Store, task: Task, record: Record) -> tuple[Any, ...]:
    """The slice of (..., slice, row, column) where the structures are largest in total, cropped to the patient."""
    drawn = [np.asarray(store.array(record, t.name)[...]) for t in task.targets if t.kind == "structures"]
    at = int(np.argmax(np.concatenate(drawn).sum(axis=(0, 2, 3)))) if drawn else record.shape[0] // 2
    body = np.asarray(store.array(record, INPUT)[0, at]) > BODY
    ends = [np.flatnonzero(body.any(axis=1 - axis))[[0, -1]] for axis in (0, 1)] if body.any() else []
    return (..., at, *(slice(max(0, first - 2), last + 3) for first, last in ends))
