"""Where results go: settled and checked before any work is done."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from medley.errors import MedleyError
from medley.io.files import Scan
from medley.runtime.atomic import replacing

SUFFIXES = {"dicom": "", "nifti": ".nii.gz", "mha": ".mha", "nrrd": ".nrrd"}  # "" is a folder of DICOM files
_KNOWN = (".nii.gz", ".nii", ".mha", ".nrrd")


def output_paths(scans: Sequence[Scan], output: Path, form: str | None = None) -> list[Path]:
    """One path for each scan: `output` itself for a single scan, else `output`/name of the scan.

    A single scan goes into the folder `output` too where that has no suffix and the format is one of files.

    Parameters
    ----------
    form: a key of `SUFFIXES`; None takes the format of the input.

    Raises
    ------
    MedleyError: unknown format; a file name for several scans, or of another format.
    """
    if form is not None and form not in SUFFIXES:
        raise MedleyError(f"there is no format {form!r}; the formats are {', '.join(SUFFIXES)}")
    given = suffix_of(output)
    if given and len(scans) > 1:
        raise MedleyError(f"there are {len(scans)} scans, but {output} is one file; give a folder")
    if given and form is not None and SUFFIXES[form] != given and (form, given) != ("nifti", ".nii"):
        raise MedleyError(f"{output} is not a name for {form}; give another name or leave --format out")
    if not given and len(scans) == 1 and re.fullmatch(r"\.[a-z]\w*", output.suffix.lower()) and not output.is_dir():
        raise MedleyError(
            f"{output}: {output.suffix} files cannot be written; expected {', '.join(_KNOWN)} or a folder"
        )
    suffixes = [_suffix_for(scan) if form is None else SUFFIXES[form] for scan in scans]
    if len(scans) == 1 and (given or not suffixes[0]):
        return [output]
    paths = [output / f"{scan.name}{suffix}" for scan, suffix in zip(scans, suffixes, strict=True)]
    doubled = sorted({str(path) for path in paths if paths.count(path) > 1})
    if doubled:
        raise MedleyError(f"two scans would both be written to {doubled[0]}; restore them one at a time")
    return paths


def suffix_of(path: Path) -> str:
    """The suffix of a format medley writes, or "" where there is none of them."""
    return next((suffix for suffix in _KNOWN if path.name.lower().endswith(suffix)), "")


def check_outputs(source: Path, outputs: Iterable[Path], *, overwrite: bool) -> None:
    """See that every output can be written and none would touch the input.

    Raises
    ------
    MedleyError: an output is the input, lies in it or holds it; exists and `overwrite` is False; lies below a file.
    """
    kept = source.resolve()
    for output in outputs:
        place = output.resolve()
        if place == kept or (source.is_dir() and kept in place.parents) or place in kept.parents:
            raise MedleyError(
                f"{output}: is, lies in or holds the input {source}, which is never changed; give another place"
            )
        if output.exists() and not overwrite and not (output.is_dir() and not any(output.iterdir())):
            raise MedleyError(f"{output}: exists already; choose another name or --overwrite")
        standing = next(parent for parent in place.parents if parent.exists())
        if not standing.is_dir():
            raise MedleyError(f"{output}: cannot be written, {standing} is a file, not a folder")
        if not os.access(standing, os.W_OK):
            raise MedleyError(f"{output}: cannot be written, {standing} does not allow it")


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write a text file, whole or not at all; folders on its way are made.

    Raises
    ------
    MedleyError: it exists and `overwrite` is False; it cannot be written (a full disk, no permission).
    """
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any, *, overwrite: bool = False) -> None:
    """Write plain values as JSON, or print them where the path is "-"."""
    text = json.dumps(content, indent=2, allow_nan=False)
    if str(path) == "-":
        print(text)
    else:
        write_text(path, text + "\n", overwrite=overwrite)


def _suffix_for(scan: Scan) -> str:
    if scan.path.is_dir():
        return ""
    files = {".gz": ".nii.gz", ".nii": ".nii.gz", ".mha": ".mha", ".mhd": ".mha", ".nrrd": ".nrrd", ".nhdr": ".nrrd"}
    return files.get(scan.path.suffix.lower(), "")
