"""The paths of results: chosen and checked before any work is done."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from medley.errors import MedleyError
from medley.io.files import Scan
from medley.io.pictures import READS as PICTURES
from medley.io.pictures import SUFFIXES as PICTURE_SUFFIXES
from medley.runtime.atomic import remove_leftovers, replacing

SUFFIXES = {"dicom": "", "nifti": ".nii.gz", "mha": ".mha", "nrrd": ".nrrd"}  # "" is a folder of DICOM files
_KNOWN = (".nii.gz", ".nii", ".mha", ".nrrd", ".png", ".tif", ".tiff")


def output_paths(scans: Sequence[Scan], output: Path, form: str | None = None) -> list[Path]:
    """The path of the result of each scan: `output` itself for a single scan, `output`/NAME for several.

    The file of a single scan goes into the folder `output` if that has no suffix.

    Parameters
    ----------
    form: the format, a key of `SUFFIXES`; None keeps the format of the input.

    Raises
    ------
    MedleyError: there is no such format; a file name for several scans, or for another format.
    """
    if form is not None and form not in SUFFIXES:
        raise MedleyError(f"there is no format {form!r}; the formats are {', '.join(SUFFIXES)}")
    given = suffix_of(output)
    if given and len(scans) > 1:
        raise MedleyError(f"there are {len(scans)} scans, but {output} is one file; give a folder")
    if given and form is not None and SUFFIXES[form] != given and (form, given) != ("nifti", ".nii"):
        raise MedleyError(f"{output} is not a file name for {form}; choose another name or omit --format")
    if not given and len(scans) == 1 and re.fullmatch(r"\.[a-z]\w*", output.suffix.lower()) and not output.is_dir():
        raise MedleyError(
            f"{output}: {output.suffix} files cannot be written; expected {', '.join(_KNOWN)} or a folder"
        )
    if given in PICTURE_SUFFIXES and not all(scan.path.name.lower().endswith(PICTURES) for scan in scans):
        raise MedleyError(f"{output}: {given} files cannot be written of a scan; expected {', '.join(_KNOWN[:4])}")
    suffixes = [_suffix_for(scan) if form is None else SUFFIXES[form] for scan in scans]
    if len(scans) == 1 and (given or not suffixes[0]):
        return [output]
    paths = [output / f"{scan.name}{suffix}" for scan, suffix in zip(scans, suffixes, strict=True)]
    doubled = sorted({str(path) for path in paths if paths.count(path) > 1})
    if doubled:
        raise MedleyError(f"two scans would both be written to {doubled[0]}; process them one at a time")
    return paths


def suffix_of(path: Path) -> str:
    """The suffix of a format that medley writes, or "" for any other name."""
    return next((suffix for suffix in _KNOWN if path.name.lower().endswith(suffix)), "")


def check_outputs(
    inputs: Path | Iterable[Path], outputs: Iterable[Path], files: Iterable[Path] = (), *, overwrite: bool
) -> None:
    """Check that every output can be written, and that none would change an input or another output.

    Parameters
    ----------
    inputs: files and folders that are read.
    outputs: the results, files or folders. files: reports and records, which must not lie in a result that is a folder.

    Raises
    ------
    MedleyError: an output is an input, lies in it or contains it; two outputs are the same file; an output exists and
        `overwrite` is False, or its folder cannot be written.
    """
    outputs, files = list(outputs), list(files)
    for source in [inputs] if isinstance(inputs, Path) else inputs:
        for output in [*outputs, *files]:
            _check_apart(source, output)
    _check_distinct(outputs, files)
    for output in [*outputs, *files]:
        remove_leftovers(output.parent)
        if output.exists() and not overwrite and not (output.is_dir() and not any(output.iterdir())):
            raise MedleyError(f"{output}: exists already; choose another name or --overwrite")
        existing = next(parent for parent in output.resolve().parents if parent.exists())
        if not existing.is_dir():
            raise MedleyError(f"{output}: cannot be written, {existing} is a file, not a folder")
        if not os.access(existing, os.W_OK):
            raise MedleyError(f"{output}: cannot be written, there is no permission to write into {existing}")


def is_stdout(path: Path) -> bool:
    """Whether a path on the command line means the standard output."""
    return str(path) == "-"


def write_text(path: Path, text: str, *, overwrite: bool = False, mode: int = 0o777) -> None:
    """Write a text file in UTF-8, completely or not at all; its folders are made.

    Raises
    ------
    MedleyError: it exists and `overwrite` is False; it cannot be written (a full disk, no permission).
    """
    with replacing(path, overwrite=overwrite, mode=mode) as temporary:
        # Names of files that are not UTF-8 are written with escapes.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, content: Any, *, overwrite: bool = False, mode: int = 0o777) -> None:
    """Write plain values as JSON, or print them where the path is "-"."""
    text = json.dumps(content, indent=2, allow_nan=False)
    if is_stdout(path):
        print(text)
    else:
        write_text(path, text + "\n", overwrite=overwrite, mode=mode)


def _check_apart(source: Path, output: Path) -> None:
    there, place = source.resolve(), output.resolve()
    inside = source.is_dir() and there in place.parents
    if there == place or inside or place in there.parents or _is_same_file(source, output):
        raise MedleyError(
            f"{output}: is the input {source}, in it, or contains it; inputs are never changed: choose another place"
        )


def _check_distinct(outputs: list[Path], files: list[Path]) -> None:
    """Names that differ only in upper and lower case are the same file on some disks: for `files` they are refused."""
    places: dict[Path, Path] = {}
    for output in [*outputs, *files]:
        place = output.resolve()
        if place in places:
            raise MedleyError(f"{output} and {places[place]} are the same file; choose another name for one of them")
        places[place] = output
    for k, file in enumerate(files):
        for other in [*outputs, *files[:k]]:
            if _folded(other) == _folded(file) or _is_same_file(file, other):
                raise MedleyError(f"{file} and {other} are the same file; choose another name for one of them")
        for output in outputs:
            if output.resolve() in file.resolve().parents:
                raise MedleyError(f"{file}: is in the result {output}, which is a folder; choose another place")


def _folded(path: Path) -> str:
    return str(path.resolve()).casefold()


def _is_same_file(one: Path, other: Path) -> bool:
    """Whether two names, such as hard links, belong to one existing file."""
    try:
        return one.is_file() and other.is_file() and os.path.samefile(one, other)
    except OSError:
        return False


def _suffix_for(scan: Scan) -> str:
    if scan.path.is_dir():
        return ""
    files = {".gz": ".nii.gz", ".nii": ".nii.gz", ".mha": ".mha", ".mhd": ".mha", ".nrrd": ".nrrd", ".nhdr": ".nrrd"}
    files |= dict.fromkeys(PICTURES, ".png") | {".tif": ".tif", ".tiff": ".tif"}
    return files.get(scan.path.suffix.lower(), "")
