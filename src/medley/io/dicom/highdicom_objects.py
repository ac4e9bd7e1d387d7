"""DICOM objects about a scan that highdicom makes (an extra, imported when needed): what all of them share."""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from medley import __version__
from medley.errors import MedleyError
from medley.io.dicom.provenance import COMMENT, MAKER, Algorithm, add_equipment, add_losses, series_number
from medley.io.dicom.read import DicomSource
from medley.io.dicom.references import permissions_of, source_of
from medley.runtime.atomic import one_line, replacing
from medley.runtime.extras import install_hint
from medley.runtime.guard import without_warnings
from medley.volume import Volume


def highdicom_for(kind: str) -> ModuleType:
    """highdicom with its modules; `kind` is the object that needs it, for the message.

    Raises
    ------
    MedleyError: it is not installed.
    """
    try:
        import highdicom.pm
        import highdicom.seg
        import highdicom.sr
    except ImportError:
        raise MedleyError(f"{kind} needs highdicom; {install_hint('radiotherapy')}") from None
    return highdicom


def frame_order(source: DicomSource, images: abc.Sequence[Dataset]) -> list[int]:
    """The slices in the order that highdicom expects: that of the images, or that of the frames of the one image.

    Raises
    ------
    MedleyError: the scan is a part of a multi-frame image, or consists of several.
    """
    if len(images) == len(source.frames):
        return list(range(len(images)))
    path = source.frames[0].path
    if len(images) > 1 or int(images[0].NumberOfFrames) != len(source.frames):
        raise MedleyError(
            f"{path}: the scan is {len(source.frames)} slices of {len(images)} multi-frame images, to which a DICOM "
            "object cannot refer; expected one whole multi-frame image or one image per slice"
        )
    return sorted(range(len(source.frames)), key=lambda k: source.frames[k].index)


def made(
    create: Callable[..., Dataset],
    content: abc.Sequence[Any],
    options: Mapping[str, Any],
    *,
    reference: Volume,
    path: Path,
    kind: str,
    description: str,
    algorithm: Algorithm,
) -> Dataset:
    """An object of highdicom with identifiers, equipment and the comment of medley.

    Parameters
    ----------
    create: the class of highdicom. content: its first arguments, of which the first are the images of the scan.
    options: its other arguments, without those that all objects share.
    reference: the scan. path, kind: of the object, for messages. description: of its series.

    Raises
    ------
    MedleyError: the headers of the scan lack elements that the object needs.
    """
    images, uid = content[0], generate_uid(prefix=None)
    try:
        with without_warnings():
            new = create(
                *content,
                series_instance_uid=uid,
                series_number=series_number(images[0].get("SeriesNumber"), uid),
                sop_instance_uid=generate_uid(prefix=None),
                instance_number=1,
                manufacturer=MAKER,
                manufacturer_model_name=MAKER,
                software_versions=__version__,
                device_serial_number="none",
                series_description=description,
                **options,
            )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MedleyError(
            f"{path}: the headers of the scan lack what a {kind} needs ({one_line(error)}); write .nii.gz instead"
        ) from error
    new.SpecificCharacterSet = "ISO_IR 192"  # names may be in any script
    first = source_of(reference, path).frames[0]
    add_equipment(new, images[0].get, first.path, algorithm.described(), datetime.now(), set())
    add_losses(new, images[0].get, first.pixels)
    new.ImageComments = COMMENT
    return new


def saved(new: Dataset, path: Path, *, reference: Volume, overwrite: bool) -> Path:
    """Write an object completely or not at all, with at most the permissions of the scan; returns the path.

    Raises
    ------
    MedleyError: `path` exists and `overwrite` is False; it cannot be written.
    """
    with replacing(path, overwrite=overwrite, mode=permissions_of(reference, path)) as temporary:
        new.save_as(temporary, enforce_file_format=True)
    return path
