"""Layout "ham10000": photographs of skin lesions, with outlines and diagnoses.

HAM10000 (Tschandl et al., Scientific Data 5, 180161, 2018) as published, ISIC 2017 converted to the same form, and your
own data: images, masks and a table, anywhere below SOURCE.

    images/NAME.jpg                        or .png; in any folder that is not for masks
    masks/NAME.png, NAME_segmentation.png  the lesion is white (or another value, see `read_mask`); a folder with
                                           "mask" or "segmentation" in its name
    HAM10000_metadata.csv, labels.csv      image_id and diagnosis (or dx); lesion_id and split where they are known
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from medley.data.layouts.study import RecordData, RecordSource, split_of
from medley.data.layouts.tables import read_rows
from medley.errors import MedleyError
from medley.geometry.resampling import to_size
from medley.io.photographs import PHOTOGRAPHS, read_mask, read_photograph
from medley.targets import Target
from medley.tasks import Task

TABLES = ("HAM10000_metadata.csv", "HAM10000_metadata", "metadata.csv", "labels.csv")
SUBJECTS = ("lesion_id", "patient_id", "subject")
DIAGNOSES = ("diagnosis", "dx")
CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")  # these first, others (HAM10000's dx) by their names
SIZE = 96


def records(source: Path, *, table: Path | None = None, size: int | None = None) -> tuple[Task, list[RecordSource]]:
    """The photographs below `source`, and their task.

    An image without a mask, or with a black one, has no outline; an image without a row in the table, or with an empty
    diagnosis there, has no diagnosis. Photographs of one lesion are in one split.

    Parameters
    ----------
    table: CSV with the diagnoses; None takes the first of `TABLES` in `source`, if there is one.
    size: pixels per side; images are resized to squares. None is 96.

    Raises
    ------
    MedleyError: no image, two with the same name, a mask or a row of the table without an image, a table without
        diagnoses.
    """
    if not source.is_dir():
        raise MedleyError(f"{source} is not a folder; give the one that holds images, masks and a table")
    images, masks = _images_and_masks(source)
    table = table or next((source / name for name in TABLES if (source / name).is_file()), None)
    rows = read_rows(table, "image_id") if table else {}
    if rows and not any(name in row for row in rows.values() for name in DIAGNOSES):
        raise MedleyError(f"{table} has no column {' or '.join(DIAGNOSES)}; expected one row per image")
    if unknown := next((name for name in rows if name not in images), None):
        raise MedleyError(f"{table} names the image {unknown}, which is not below {source}; add it or remove the line")
    found = [_case(image, masks.get(name), rows.get(name, {}), source, size or SIZE) for name, image in images.items()]
    return _task(size or SIZE, bool(masks), _classes(rows)), found


def _case(image: Path, mask: Path | None, row: Mapping[str, str], source: Path, size: int) -> RecordSource:
    name = image.relative_to(source)
    subject = _first(row, SUBJECTS) or image.stem
    return RecordSource(
        id=image.stem,
        source=name.as_posix(),
        subject=subject,
        split=split_of(subject, name.parts[:-1], f"{source}: {name}", stated=row.get("split", "")),
        read=partial(_read, image, mask, _first(row, DIAGNOSES), size),
    )


def _read(image: Path, mask: Path | None, diagnosis: str, size: int) -> RecordData:
    pixels = read_photograph(image)  # (row, column, colour)
    small = to_size(np.moveaxis(pixels, -1, 0), (size, size))
    arrays = {"input": np.rint(small).astype(np.uint8)}
    drawn = {}
    if mask is not None:
        outline = read_mask(mask)
        if outline.shape != pixels.shape[:2]:
            raise MedleyError(
                f"{mask}: has {outline.shape[0]} x {outline.shape[1]} pixels, but {image} has {pixels.shape[0]} x "
                f"{pixels.shape[1]}; a mask must have the size of its image"
            )
        lesion = to_size(outline, (size, size)) >= 0.5
        if lesion.any():
            arrays["segmentation"] = lesion[None].astype(np.uint8)
            drawn = {"segmentation": ("lesion",)}
    return RecordData(arrays, drawn=drawn, labels={"diagnosis": diagnosis} if diagnosis else {})


def _task(size: int, masks: bool, classes: tuple[str, ...]) -> Task:
    targets = []
    if masks:
        targets.append(Target(name="segmentation", kind="structures", names=("lesion",)))
    if classes:
        targets.append(Target(name="diagnosis", kind="classes", names=classes))
    return Task(
        name="skin",
        title="Skin lesions: outline and diagnosis",
        channels=("red", "green", "blue"),
        range=(0, 255),
        grid=(size, size),
        flips=(0, 1),
        transposes=True,
        targets=tuple(targets),
    )


def _classes(rows: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """The diagnoses that occur, in the stated order."""
    names = {_first(row, DIAGNOSES) for row in rows.values()} - {""}
    return (*(name for name in CLASSES if name in names), *sorted(names - set(CLASSES)))


def _images_and_masks(source: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The images by name, and the mask of each that has one."""
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for path in _pictures(source):
        folders = path.relative_to(source).parent.as_posix().lower()
        is_mask = "mask" in folders or "segmentation" in folders
        name = path.stem.removesuffix("_segmentation") if is_mask else path.stem
        if (other := (masks if is_mask else images).setdefault(name, path)) is not path:
            raise MedleyError(f"{path} and {other} have one name; rename one, or give a folder that holds only one")
    if not images:
        raise MedleyError(f"{source} holds no photograph; expected .jpg or .png files below it")
    if lonely := next((path for name, path in masks.items() if name not in images), None):
        raise MedleyError(f"{lonely}: is the mask of no image below {source}; name it as the image")
    return images, masks


def _pictures(source: Path) -> Iterator[Path]:
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() in PHOTOGRAPHS and not path.name.startswith("."):
            yield path


def _first(row: Mapping[str, str], columns: tuple[str, ...]) -> str:
    return next((row[name] for name in columns if row.get(name)), "")
