"""Find, read and write scans of any format."""

from __future__ import annotations

import math
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from medley.errors import MedleyError
from medley.io.archive import Extracted
from medley.io.dicom.read import UNITS, open_series
from medley.io.dicom.series import Series, looks_like_dicom, series_among
from medley.io.dicom.write import dicom_writer
from medley.io.nifti import SUFFIXES as NIFTI_SUFFIXES
from medley.io.nifti import nifti_writer, open_nifti
from medley.io.sitk import READS as SITK_READS
from medley.io.sitk import SUFFIXES as SITK_SUFFIXES
from medley.io.sitk import open_sitk, sitk_writer
from medley.io.writing import Writer, in_background
from medley.runtime.atomic import mode_of
from medley.runtime.guard import reading
from medley.runtime.limits import check_memory
from medley.volume import Volume


@dataclass(frozen=True)
class Scan:
    """One scan that can be opened.

    Attributes
    ----------
    path: a file, a zip with DICOM, or the folder that holds the files of a DICOM series.
    series_uid: which series of the folder or zip; None for a file.
    name: a short name without suffix, for messages and output files; parts are joined by "/". It is unique among the
        scans that were found together.
    extracted: the content of a zip that was given by its path, so that it is unpacked once.
    """

    path: Path
    series_uid: str | None = None
    name: str = ""
    extracted: Extracted | None = field(default=None, repr=False, compare=False)


def read(path: str | Path | Scan, *, modality: str | None = None, unit: str | None = None) -> Volume:
    """Read a scan into memory; parameters and errors as of `open_scan`."""
    volume = open_scan(path, modality=modality, unit=unit)
    check_memory(path.path if isinstance(path, Scan) else path, 4 * math.prod(volume.shape))
    return volume.load()


def open_scan(scan: str | Path | Scan, *, modality: str | None = None, unit: str | None = None) -> Volume:
    """Open a scan. Headers are checked now; slices are read one at a time during iteration of `volume.data`.

    Parameters
    ----------
    scan: a NIfTI, MHA, NRRD or DICOM file, a zip or folder with one DICOM series, or one of several scans that
        `find_scans` returned. MHA and NRRD are read as a whole.
    modality, unit: for files without this information ("CT", "MR", "PT"; "HU", "a.u.", "SUV").

    Raises
    ------
    MedleyError: the file is missing or damaged, is not one evenly spaced greyscale volume, or has another modality or
        unit.
    """
    if not isinstance(scan, Scan):
        scan = _only_scan(Path(scan))
    volume = _open(scan)
    for what, given, found in (("modality", modality, volume.modality), ("unit", unit, volume.unit)):
        if given and found and given != found:
            raise MedleyError(
                f"{scan.path}: its {what} is {found}, not {given}; leave out {given} or choose another scan"
            )
    modality = volume.modality or modality or ""
    # A PET file without a unit may hold Bq/ml: SUV is never assumed.
    assumed = UNITS[modality] if modality in ("CT", "MR") else ""
    return volume.with_data(volume.data, modality=modality, unit=volume.unit or unit or assumed)


def find_scans(path: str | Path) -> list[Scan]:
    """All scans at a path: a file, a zip, or a folder with its subfolders; sorted by name, without hidden files.

    DICOM images of one series in one folder are one scan. A damaged DICOM file is a scan of its own if its folder holds
    no other, so that opening it gives the error.

    Raises
    ------
    MedleyError: the path does not exist, or there is no scan.
    """
    path = Path(path)
    if not path.exists():
        raise MedleyError(f"{path}: does not exist")
    if path.is_file():
        scans = _scans_of_zip(path, keep=True) if path.suffix.lower() == ".zip" else [Scan(path, None, _stem(path))]
    else:
        with reading(path, "a folder of scans"):
            scans = [scan for folder in [path, *_folders_below(path)] for scan in _scans_in(folder, path)]
    if not scans:
        raise MedleyError(f"{path}: holds no scan; expected DICOM images, NIfTI, MHA or NRRD files")
    return sorted(_with_own_names(scans), key=lambda scan: scan.name)


def write(
    volume: Volume, path: str | Path, *, derivation: str = "", mark: str = "medley", overwrite: bool = False
) -> Path:
    """Write all slices of a volume; parameters and errors as of `open_writer`."""
    with open_writer(path, volume, derivation=derivation, mark=mark, overwrite=overwrite) as writer:
        for values in volume.data:
            writer.append(values)
    return Path(path)


def open_writer(
    path: str | Path, volume: Volume, *, derivation: str = "", mark: str = "medley", overwrite: bool = False
) -> AbstractContextManager[Writer]:
    """A writer that takes the slices of a volume one at a time and writes them in the background:

        with open_writer("better.nii.gz", scan) as writer:
            for values in scan.data:
                writer.append(improved(values))

    The result is written completely or not at all: it takes its name at the end of the `with` block, and on any
    exception nothing is left of it. It has at most the permissions of the source files.

    Parameters
    ----------
    path: the suffix chooses the format: .nii, .nii.gz, .mha, .nrrd; a path without one is a folder for a DICOM series,
        for volumes that were read from DICOM.
    volume: gives shape, affine, modality, unit and source; its values are not used.
    derivation: a sentence that says what was done, kept in the file where the format has a place for it.
    mark: put in brackets after the description of a DICOM series, where people choose from a list.

    Raises
    ------
    MedleyError: unknown suffix, `path` exists and `overwrite` is False, the disk is full, DICOM without a source.
    """
    path = Path(path)
    name = path.name.lower()
    mode = 0o777
    for one in getattr(volume.source, "paths", ()):
        mode &= mode_of(one)
    if name.endswith(NIFTI_SUFFIXES):
        target = nifti_writer(volume, path, derivation=derivation, overwrite=overwrite, mode=mode)
    elif name.endswith(SITK_SUFFIXES):
        target = sitk_writer(volume, path, derivation=derivation, overwrite=overwrite, mode=mode)
    # The name of a folder may be a UID, such as "1.2.840", which has no letters after the dot.
    elif re.fullmatch(r"\.[a-z]\w*", path.suffix.lower()):
        raise MedleyError(
            f"{path}: cannot write {path.suffix} files; expected .nii, .nii.gz, .mha or .nrrd, or no suffix for a "
            "folder with a DICOM series"
        )
    else:
        target = dicom_writer(volume, path, derivation=derivation, mark=mark, overwrite=overwrite, mode=mode)
    return in_background(target, volume.shape)


def _only_scan(path: Path) -> Scan:
    scans = find_scans(path)
    if len(scans) > 1:
        listed = "; ".join(scan.name + (f" ({scan.series_uid})" if scan.series_uid else "") for scan in scans[:10])
        raise MedleyError(
            f"{path}: holds {len(scans)} scans, expected one: {listed}{'; ...' if len(scans) > 10 else ''}. Give one "
            "of them alone, or open one of find_scans(path)"
        )
    return scans[0]


def _open(scan: Scan) -> Volume:
    path = Path(scan.path)
    if not path.exists():
        raise MedleyError(f"{path}: does not exist")
    if path.is_dir():
        return _open_series(_files_in(path), scan)
    name = path.name.lower()
    if name.endswith(".zip"):
        extracted = scan.extracted or Extracted(path)
        return _open_series(extracted.files, scan, extracted)
    if name.endswith(NIFTI_SUFFIXES):
        return open_nifti(path)
    if name.endswith(SITK_READS):
        return open_sitk(path)
    if not looks_like_dicom(path):
        raise MedleyError(f"{path}: is not a scan; expected DICOM, NIfTI, MHA, NRRD, or a zip with DICOM")
    return open_series([path], path)


def _open_series(files: list[Path], scan: Scan, extracted: Extracted | None = None) -> Volume:
    found, broken = series_among(files)
    if broken:
        raise MedleyError(
            f"{broken[0]}: cannot be read as DICOM, so a slice of {scan.path} may be missing; replace or remove it"
        )
    chosen = [one for one in found if scan.series_uid in (None, one.uid)]
    if not chosen:
        raise MedleyError(f"{scan.path}: holds no DICOM series {scan.series_uid or ''}")
    if len(chosen) > 1:
        raise MedleyError(
            f"{scan.path}: holds {len(chosen)} series: {'; '.join(map(str, chosen))}; pick one by its series_uid"
        )
    return open_series(chosen[0].files, scan.path, extracted)


def _scans_in(folder: Path, root: Path) -> list[Scan]:
    """The scans of one folder, without its subfolders; named by their path relative to `root`."""
    files = _files_in(folder)
    place = "" if folder == root else folder.relative_to(root).as_posix() + "/"
    others = [file for file in files if file.name.lower().endswith((*NIFTI_SUFFIXES, *SITK_READS, ".zip"))]
    scans = []
    for file in others:
        one = _scans_of_zip(file) if file.suffix.lower() == ".zip" else [Scan(file, None, _stem(file))]
        scans += [Scan(scan.path, scan.series_uid, place + scan.name) for scan in one]
    series, broken = series_among([file for file in files if file not in others])
    scans += [Scan(folder, one.uid, _series_name(one, series, place, folder)) for one in series]
    return scans if series else scans + [Scan(file, None, place + _stem(file)) for file in broken]


def _scans_of_zip(path: Path, keep: bool = False) -> list[Scan]:
    """The scans of a zip; `keep`: with its unpacked content, which takes disk space as long as they exist."""
    try:
        extracted = Extracted(path)
    except MedleyError:
        return [Scan(path, None, _stem(path))]  # opening it gives the error
    kept = extracted if keep else None
    series, _ = series_among(extracted.files)
    if len(series) < 2:
        return [Scan(path, series[0].uid if series else None, _stem(path), kept)]
    return [Scan(path, one.uid, f"{_stem(path)}/{_label(one)}", kept) for one in series]


def _series_name(one: Series, series: list[Series], place: str, folder: Path) -> str:
    """The name of the folder, if it holds only this series."""
    if len(series) == 1:
        return place.rstrip("/") or folder.resolve().name
    return place + _label(one)


def _label(series: Series) -> str:
    words = re.sub(r"[^A-Za-z0-9.]+", "-", series.description).strip("-.")
    return "-".join(part for part in (f"{series.number:03d}", words or series.modality) if part)


def _with_own_names(scans: list[Scan]) -> list[Scan]:
    """Add a number to names that occur again."""
    named: dict[str, Scan] = {}
    for scan in scans:
        name, again = scan.name, 1
        while name in named:
            again += 1
            name = f"{scan.name}-{again}"
        named[name] = replace(scan, name=name)
    return list(named.values())


def _stem(path: Path) -> str:
    return re.sub(r"\.nii\.gz$|\.[a-z]\w*$", "", path.name, flags=re.IGNORECASE) or path.name


def _hidden_below(path: Path, root: Path) -> bool:
    """Whether a part of the path below `root` is hidden, or was added to a zip by macOS."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(root).parts)


def _files_in(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.is_file() and not _hidden_below(one, folder))


def _folders_below(folder: Path) -> list[Path]:
    return sorted(one for one in folder.rglob("*") if one.is_dir() and not _hidden_below(one, folder))
