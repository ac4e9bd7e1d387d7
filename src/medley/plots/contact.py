"""A contact sheet of a store: the middle slice of some records of each task and split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from medley.data.record import INPUT, Record
from medley.data.store import Store
from medley.plots.pictures import COLOURS, stacked
from medley.targets import IMAGE

COLUMNS = 6  # records of a task and split, evenly spaced in the order of the store
SIDE = 200  # pixels of the longer side of a slice
_GAP, _LINE, _FONT = 8, 20, 14


def contact_sheet(store: Store, records: Sequence[Record], remarks: Mapping[str, str]) -> Image.Image:
    """One band for each task and split: input, target and their difference below each other, a record in each column.

    Both images of a pair have the same grey levels: the range from the 1st percentile of the target to its 99.8th.
    Differences are shown around medium grey, with the same contrast. Masks are drawn over the input in colours, doses
    as brightness of red.

    Parameters
    ----------
    records: at least one, complete. remarks: a line under the name of a record, by its id.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.task, record.split), []).append(record)
    bands = [
        _band(f"{task}, {split}: {len(group)} records", store, group[:: -(-len(group) // COLUMNS)], remarks)
        for (task, split), group in sorted(groups.items())
    ]
    return stacked(bands, _GAP)


def _band(title: str, store: Store, records: list[Record], remarks: Mapping[str, str]) -> Image.Image:
    columns = [_column(store, record, remarks.get(record.id, "")) for record in records]
    band = Image.new(
        "RGB",
        (_GAP + sum(one.width + _GAP for one in columns), 2 * _LINE + max(one.height for one in columns)),
        "white",
    )
    ImageDraw.Draw(band).text((_GAP, _LINE // 2), title, fill="black", font=ImageFont.load_default(_FONT + 4))
    at = _GAP
    for one in columns:
        band.paste(one, (at, 2 * _LINE))
        at += one.width + _GAP
    return band


def _column(store: Store, record: Record, remark: str) -> Image.Image:
    tiles = [_sized(tile, record) for tile in _tiles(store, record)]
    column = Image.new("RGB", (SIDE, 2 * _LINE + sum(tile.height + _GAP for tile in tiles)), "white")
    draw, font = ImageDraw.Draw(column), ImageFont.load_default(_FONT)
    for k, text in enumerate((record.id, remark)):
        while text and font.getlength(text) > SIDE:
            text = text[:-2].removesuffix("…") + "…"
        draw.text((0, k * _LINE), text, fill="black", font=font)
    at = 2 * _LINE
    for tile in tiles:
        column.paste(tile, ((SIDE - tile.width) // 2, at))
        at += tile.height + _GAP
    return column


def _tiles(store: Store, record: Record) -> list[np.ndarray]:
    """Pictures (row, column, 3) uint8 of the middle slice."""
    volume = len(record.shape) == 3
    part = (slice(None), record.shape[0] // 2) if volume else ...
    image = store.array(record, INPUT)[part].astype(np.float64)
    if IMAGE in record.checksums:
        target = store.array(record, IMAGE)[part][0].astype(np.float64)
        low, high = np.percentile(target, (1, 99.8))
        if store.task(record).modality == "CT":
            low, high = store.task(record).window
        span = high - low if high > low else 1.0
        greys = (image[0] - low) / span, (target - low) / span, 0.5 + (image[0] - target) / span
        return [_grey(one) for one in greys]
    colour = np.moveaxis(image, 0, -1) if len(image) == 3 else image[0][..., None].repeat(3, axis=-1)
    low, high = store.task(record).range
    colour = ((colour - low) / (high - low)).clip(0, 1)
    drawn = colour.copy()
    for target in store.task(record).targets:
        if target.name not in record.checksums:
            continue
        values = store.array(record, target.name)[part]
        if target.kind == "structures":
            for k, mask in enumerate(values > 0):
                tint = np.array(ImageColor.getrgb(COLOURS[k % len(COLOURS)])) / 255
                drawn[mask] = 0.5 * drawn[mask] + 0.5 * tint
        elif target.kind == "map":
            drawn[..., 0] = np.maximum(drawn[..., 0], (values[0] / target.scale).clip(0, 1))
    return [_coloured(colour), _coloured(drawn)]


def _grey(unit: np.ndarray) -> np.ndarray:
    return _coloured(unit[..., None].repeat(3, axis=-1))


def _coloured(unit: np.ndarray) -> np.ndarray:
    return np.rint(255 * unit.clip(0, 1)).astype(np.uint8)


def _sized(pixels: np.ndarray, record: Record) -> Image.Image:
    """In the proportions of the slice in mm, its longer side `SIDE`."""
    *_, row, column = record.spacing if len(record.spacing) > 1 else (1.0, 1.0)
    height, width = pixels.shape[0] * row, pixels.shape[1] * column
    factor = SIDE / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return Image.fromarray(pixels).resize(size, Image.Resampling.BOX if max(pixels.shape) > SIDE else None)
