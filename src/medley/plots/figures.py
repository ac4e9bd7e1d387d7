"""Pictures of one record of each task: target, input and restored images, with the absolute error below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medley.data.record import INPUT, Record
from medley.data.store import Store
from medley.errors import MedleyError
from medley.metrics.image import score
from medley.plots.pictures import rounded_up
from medley.runtime.atomic import replacing
from medley.scoring.methods import ClassicalMethod, Method
from medley.scoring.rows import ScoreRow
from medley.scoring.summary import summary
from medley.slabs import UNKNOWN, slabs_of
from medley.targets import IMAGE
from medley.tasks import TASKS, task_named

SIDE = 384  # pixels of the longer side of a panel
_GAP, _HEAD = 6, 52
_FONT_SIZE = 18


@dataclass(frozen=True)
class Panel:
    """One column: its title, the slice and its difference from the target (row, column); no difference for
    the target itself.
    """

    title: str
    image: np.ndarray
    error: np.ndarray | None = None


def write_pictures(
    store: Store,
    methods: Sequence[Method],
    folder: str | Path,
    *,
    rows: Sequence[ScoreRow] = (),
    split: str = "valid",
    tasks: Sequence[str] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write FOLDER/TASK.png for every task: the scan with the largest slices, its middle slice, restored by `methods`.

    Parameters
    ----------
    methods: the columns after the target, in this order; those that do not support a task are left out of its picture.
    rows: scores of the methods. Only the classical method with the best mean PSNR on the task is shown; without scores,
        all are.
    tasks: which ones; None for all tasks of the split that some method supports.

    Raises
    ------
    MedleyError: the split has no record of a task, or a picture exists and `overwrite` is False.
    """
    if tasks is None:
        tasks = [task for task in TASKS if store.records(split, task) and any(task in m.tasks for m in methods)]
    paths = []
    for task in tasks:
        strip = picture(store, record_for_picture(store, split, task), _shown(methods, rows, task))
        paths.append(write_png(strip, Path(folder) / f"{task}.png", overwrite=overwrite))
    return paths


def record_for_picture(store: Store, split: str, task: str) -> Record:
    """The record with the largest slices; the first in the manifest if there are several."""
    records = store.records(split, task)
    if not records:
        raise MedleyError(f"the split {split!r} of {store.path} has no record of {task}")
    return max(records, key=lambda record: record.shape[1] * record.shape[2])


def picture(store: Store, record: Record, methods: Sequence[Method], *, slice_number: int | None = None) -> Image.Image:
    """One slice as a strip, grey in the test window (its upper end lowered to the brightest of the target).

    Parameters
    ----------
    slice_number: counted from 0; None for the one nearest the middle that is not blank.

    Raises
    ------
    MedleyError: the volume has no such slice, or every slice is blank.
    """
    k = _middle(store, record) if slice_number is None else slice_number
    if not 0 <= k < record.shape[0]:
        raise MedleyError(f"{record.id} has the slices 0 to {record.shape[0] - 1}, but not {k}")
    scan, spacing = store.array(record, INPUT), record.spacing or UNKNOWN
    target = store.array(record, IMAGE)[0, k : k + 1]
    low, high = _window(record)
    clipped = target[0].clip(low, high)
    panels = [Panel("target", clipped)]
    for method in methods:
        restored = method.restore(slabs_of(scan, [k], method.reach, spacing), record.task, record.normalisation)
        found = score(restored, target, record.task, full_scale=record.normalisation.high)
        title = f"{method.name}\n{found['psnr']:.2f} dB   SSIM {found['ssim']:.3f}"
        image = restored[0].clip(low, high)
        panels.append(Panel(title, image, np.abs(image - clipped)))
    white = min(high, float(np.percentile(clipped, 99.8)))
    limit = rounded_up(max((float(np.percentile(p.error, 97)) for p in panels if p.error is not None), default=1.0))
    unit = task_named(record.task).unit
    legend = (
        f"{record.task}\n{record.id}\nslice {k + 1} of {record.shape[0]}\n\n"
        f"grey: {low:.4g} to {white:.4g} {unit}\nerror: 0 to {limit:g} {unit}"
    )
    return _strip(panels, (low, white), limit, legend, _aspect(record))


def write_png(image: Image.Image, path: Path, *, overwrite: bool = False) -> Path:
    """Write a picture, completely or not at all."""
    with replacing(path, overwrite=overwrite) as temporary:
        image.save(temporary, "PNG", optimize=True)
    return path


def _shown(methods: Sequence[Method], rows: Sequence[ScoreRow], task: str) -> list[Method]:
    """The methods that support a task, but only the best of the classical ones."""
    able = [method for method in methods if task in method.tasks]
    classical = {method.name for method in able if isinstance(method, ClassicalMethod)}
    scored = [one for one in summary(rows) if one.task == task and one.method in classical]
    hidden = classical - {max(scored, key=lambda one: one.scores["psnr"]).method} if scored else set()
    return [method for method in able if method.name not in hidden]


def _middle(store: Store, record: Record) -> int:
    count = record.shape[0]
    target = store.array(record, IMAGE)
    for k in sorted(range(count), key=lambda k: abs(k - count // 2)):
        if np.ptp(target[0, k].clip(*_window(record))) > 0:
            return k
    raise MedleyError(f"every slice of {record.id} is blank within the test window, so no picture can be made")


def _window(record: Record) -> tuple[float, float]:
    """The test window in the unit of the scan."""
    task = task_named(record.task)
    factor = task.factor(record.normalisation.high)
    return task.window[0] / factor, task.window[1] / factor


def _aspect(record: Record) -> tuple[int, int]:
    """(width, height) of a panel in pixels, in proportion to the size of the slice in mm."""
    _, *mm = record.spacing or UNKNOWN
    height, width = record.shape[1] * mm[0], record.shape[2] * mm[1]
    factor = SIDE / max(height, width)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _strip(
    panels: Sequence[Panel], window: tuple[float, float], limit: float, legend: str, size: tuple[int, int]
) -> Image.Image:
    width, height = size
    column = max(width, SIDE * 2 // 3) + _GAP  # wide enough for the title
    strip = Image.new("L", (column * len(panels) + _GAP, _HEAD + 2 * (height + _GAP)), 255)
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(_FONT_SIZE)
    for i, panel in enumerate(panels):
        left = _GAP + i * column
        draw.text((left, 4), panel.title, fill=0, font=font)
        strip.paste(_grey(panel.image, window, size), (left, _HEAD))
        if panel.error is not None:
            strip.paste(_grey(panel.error, (0, limit), size), (left, _HEAD + height + _GAP))
    draw.text((_GAP, _HEAD + height + 2 * _GAP), legend, fill=0, font=font)
    return strip


def _grey(image: np.ndarray, window: tuple[float, float], size: tuple[int, int]) -> Image.Image:
    low, high = window
    unit = ((image - low) / (high - low)).clip(0, 1) if high > low else np.zeros_like(image)
    larger = size[0] > image.shape[1]
    way = Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS  # enlarged pixels stay sharp
    return Image.fromarray((255 * unit).round().astype(np.uint8)).resize(size, way)
