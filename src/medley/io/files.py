"""Find, read and write scans of any format."""

from __future__ import annotations

import math
import re
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from medley.errors import MedleyError
from medley.io.archive import Extracted
from medley.io.dicom.headers import looks_like_dicom
from medley.io.dicom.provenance import NO_NETWORK, Algorithm
from medley.io.dicom.read import UNITS, open_found, open_series
from medley.io.dicom.series import Series, series_among
from medley.io.dicom.write import dicom_writer
from medley.io.nifti import SUFFIXES as NIFTI_SUFFIXES
from medley.io.nifti import nifti_writer, open_nifti
from medley.io.pictures import READS as PICTURES
from medley.io.pictures import SUFFIXES as PICTURE_SUFFIXES
from medley.io.pictures import open_picture, picture_writer
from medley.io.sitk import READS as SITK_READS
from medley.io.sitk import SUFFIXES as SITK_SUFFIXES
from medley.io.sitk import open_sitk, sitk_writer
from medley.io.writing import Writer, in_background
from medley.runtime import worker
from medley.runtime.atomic import mode_of
from medley.runtime.guard import reading
from medley.runtime.limits import check_memory
from medley.tasks import modality_of
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
    series: the slices of a DICOM series as found, so that their headers are read once.
    """

    path: Path
    series_uid: str | None = None
    name: str = ""
    extracted: Extracted | None = field(default=None, repr=False, compare=False)
    series: Series | None = field(default=None, repr=False, compare=False)


def read(path: str | Path | Scan, *, modality: str | None = None, unit: str | None = None) -> Volume:
    """Read a scan into memory; parameters and errors as of `open_scan`."""
    volume = open_scan(path, modality=modality, unit=unit)
    check_memory(path.path if isinstance(path, Scan) else path, 4 * math.prod(volume.shape))
    return volume.load()


def open_scan(scan: str | Path | Scan, *, modality: str | None = None, unit: str | None = None) -> Volume:
    """Open a scan. Headers are checked now; slices are read one at a time during iteration of `volume.data`.

    Parameters
    ----------
    scan: a NIfTI, MHA, NRRD or DICOM file, a picture (PNG, TIFF), a zip or folder with one DICOM series, or one of
        several scans that `find_scans` returned. MHA, NRRD and pictures are read as a whole.
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
        if given and found and modality_of(given) != modality_of(found):
            raise MedleyError(
                f"{scan.path}: its {what} is {found}, not {given}; leave out {given} or choose another scan"
            )
    modality = volume.modality or modality or ""
    # A PET file without a unit may hold Bq/ml: SUV is never assumed.
    assumed = UNITS.get(modality, "") if modality != "PT" else ""
    return volume.with_data(volume.data, modality=modality, unit=volume.unit or unit or assumed)


def find_scans(path: str | Path) -> list[Scan]:
    """All scans at a path: a file, a zip, or a folder with its subfolders; sorted by name, without hidden files.

    DICOM images of one series are one scan, also where they are spread over several folders; its path is the folder
    that holds them all. Folders with the same images of a series are copies, and one scan each. A damaged DICOM file is
    a separate scan if its folder holds no other, so that opening it raises the error. Pictures (PNG, TIFF) are scans
    where there is no other: beside scans they are previews.

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
            scans = _scans_below(path)
    if not scans:
        raise MedleyError(f"{path}: holds no scan; expected DICOM images, NIfTI, MHA, NRRD, PNG or TIFF files")
    if any(frame.pixels.encapsulated for scan in scans if scan.series for frame in scan.series.frames[:1]):
        worker.prepare("medley.io.dicom.decode")
    return sorted(_with_own_names(scans), key=lambda scan: scan.name)


def write(
    volume: Volume,
    path: str | Path,
    *,
    derivation: str = "",
    mark: str = "medley",
    algorithm: Algorithm = NO_NETWORK,
    overwrite: bool = False,
) -> Path:
    """Write all slices of a volume; parameters and errors as of `open_writer`."""
    with open_writer(
        path, volume, derivation=derivation, mark=mark, algorithm=algorithm, overwrite=overwrite
    ) as writer:
        for values in volume.data:
            writer.append(values)
    return Path(path)


def open_writer(
    path: str | Path,
    volume: Volume,
    *,
    derivation: str = "",
    mark: str = "medley",
    algorithm: Algorithm = NO_NETWORK,
    overwrite: bool = False,
) -> AbstractContextManager[Writer]:
    """A writer that takes the slices of a volume one at a time and writes them in the background:

        with open_writer("better.nii.gz", scan) as writer:
            for values in scan.data:
                writer.append(improved(values))

    The result is written completely or not at all: it takes its name at the end of the `with` block, and on any
    exception nothing is left of it. It has at most the permissions of the source files.

    Parameters
    ----------
    path: the suffix chooses the format: .nii, .nii.gz, .mha, .nrrd; .png or .tif for volumes that were read from a
        picture; a path without one is a folder for a DICOM series, for volumes that were read from DICOM.
    volume: gives shape, affine, modality, unit and source; its values are not used.
    derivation: a sentence that describes what was done, stored in the file if the format has a field for it.
    mark: added in brackets to the description of a DICOM series, by which users choose a series.
    algorithm: the network and its parameters, stored in each file of a DICOM series.

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
    elif name.endswith(PICTURE_SUFFIXES):
        target = picture_writer(volume, path, derivation=derivation, overwrite=overwrite, mode=mode)
    # The name of a folder may be a UID, such as "1.2.840", which has no letters after the dot.
    elif re.fullmatch(r"\.[a-z]\w*", path.suffix.lower()):
        raise MedleyError(
            f"{path}: cannot write {path.suffix} files; expected .nii, .nii.gz, .mha, .nrrd, .png or .tif, or no "
            "suffix for a folder with a DICOM series"
        )
    else:
        target = dicom_writer(
            volume, path, derivation=derivation, mark=mark, algorithm=algorithm, overwrite=overwrite, mode=mode
        )
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
    if scan.series is not None:
        return open_found(scan.series, path, scan.extracted)
    if path.is_dir():
        return _open_series(_files_below(path), scan)
    name = path.name.lower()
    if name.endswith(".zip"):
        extracted = scan.extracted or Extracted(path)
        return _open_series(extracted.files, scan, extracted)
    if name.endswith(NIFTI_SUFFIXES):
        return open_nifti(path)
    if name.endswith(SITK_READS):
        return open_sitk(path)
    if name.endswith(PICTURES):
        return open_picture(path)
    if not looks_like_dicom(path):
        raise MedleyError(f"{path}: is not a scan; expected DICOM, NIfTI, MHA, NRRD, PNG, TIFF, or a zip with DICOM")
    return open_series([path], path)


def _open_series(files: list[Path], scan: Scan, extracted: Extracted | None = None) -> Volume:
    found, broken = series_among(files)
    _add_faults(found, broken, scan.path)
    if not found and broken:
        raise MedleyError(f"{broken[0]}: is not a readable DICOM file; remove or replace it")
    chosen = [one for one in found if scan.series_uid in (None, one.uid)]
    if not chosen:
        raise MedleyError(f"{scan.path}: holds no DICOM series {scan.series_uid or ''}")
    if len(chosen) > 1:
        raise MedleyError(
            f"{scan.path}: holds {len(chosen)} series: {'; '.join(map(str, chosen))}; pick one by its series_uid"
        )
    return open_found(chosen[0], scan.path, extracted)


def _scans_below(root: Path) -> list[Scan]:
    """The scans in a folder and in the folders below it, named by their path relative to `root`."""
    files = _files_below(root)
    others = {file: None for file in files if file.name.lower().endswith((*NIFTI_SUFFIXES, *SITK_READS, ".zip"))}
    scans = []
    for file in others:
        inside = _scans_of_zip(file) if file.suffix.lower() == ".zip" else [Scan(file, None, _stem(file))]
        scans += [Scan(scan.path, scan.series_uid, _place(file.parent, root) + scan.name) for scan in inside]
    series, broken = series_among([file for file in files if file not in others])
    folders = Counter(one.folder for one in series)
    for one in series:
        place = _place(one.folder, root)
        # A series alone in its folder has the name of the folder.
        name = (place.rstrip("/") or root.resolve().name) if folders[one.folder] == 1 else place + one.label
        beside = [file for file in broken if file.parent in {part.parent for part in one.files}]
        _add_faults([one], beside, one.folder)
        scans.append(Scan(one.folder, one.uid, name, series=one))
    if not scans and not broken:  # beside scans they are previews
        pictures = [file for file in files if file.name.lower().endswith(PICTURES)]
        return [Scan(file, None, _place(file.parent, root) + _stem(file)) for file in pictures]
    used = {file.parent for one in series for file in one.files}
    alone_broken = [file for file in broken if file.parent not in used]
    return scans + [Scan(file, None, _place(file.parent, root) + _stem(file)) for file in alone_broken]


def _add_faults(series: list[Series], broken: list[Path], where: Path) -> None:
    """Make opening a series fail if files in its folder cannot be read, since they may be its slices."""
    for one in series:
        one.faults += [
            f"{file}: is not a readable DICOM file, so {where} may lack a slice; remove or replace it"
            for file in broken
        ]


def _place(folder: Path, root: Path) -> str:
    return "" if folder == root else folder.relative_to(root).as_posix() + "/"


def _scans_of_zip(path: Path, keep: bool = False) -> list[Scan]:
    """The scans of a zip; `keep`: with its unpacked content, which takes disk space as long as they exist."""
    try:
        extracted = Extracted(path)
    except MedleyError:
        return [Scan(path, None, _stem(path))]  # opening it gives the error
    kept = extracted if keep else None
    series, broken = series_among(extracted.files)
    _add_faults(series, broken, path)
    if not series:
        return [Scan(path, None, _stem(path), kept)]
    names = [_stem(path)] if len(series) == 1 else [f"{_stem(path)}/{one.label}" for one in series]
    return [Scan(path, one.uid, name, kept, one if keep else None) for one, name in zip(series, names, strict=True)]


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


def _files_below(folder: Path) -> list[Path]:
    return sorted(one for one in folder.rglob("*") if one.is_file() and not _hidden_below(one, folder))
