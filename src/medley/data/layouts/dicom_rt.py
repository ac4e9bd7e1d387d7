"""Layout "dicom_rt": radiotherapy plans of any clinic, as exported by its planning system.

SOURCE and its subfolders contain one CT series, one RTSTRUCT and one RTDOSE (or only one of the two) for each patient
and study; the prescription is read from the RTPLAN. Files that belong together are recognised by PatientID and
StudyInstanceUID. The table `structures.csv` in SOURCE maps the names of structures (`structure_names`).
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from os.path import commonpath
from pathlib import Path

import numpy as np

from medley.data.layouts.structure_names import BODY, StructureNames, mirrored_pairs, read_structure_names
from medley.data.layouts.study import RecordData, RecordSource, split_by_name
from medley.errors import MedleyError, MedleyNotice
from medley.geometry.body import AIR, DIRECTIONS, extent, lay_along_patient, view_body
from medley.geometry.orientation import RAS_FROM_LPS
from medley.geometry.resampling import averaged, mask_on_grid
from medley.io.dicom.dose import covered, dose_on_grid, read_dose
from medley.io.dicom.headers import looks_like_dicom, read_header, reading
from medley.io.dicom.read import open_series
from medley.io.dicom.rois import Roi, read_rois, series_of
from medley.io.dicom.structures import read_structures
from medley.targets import Target
from medley.tasks import Task
from medley.volume import Volume

REGION = "possible_dose"
SIZE = 64
GRAY = 70.0  # Gy; the scale of the dose, unless a plan prescribes more
# Doses of a part of the treatment.
PARTS = ("BEAM", "BEAM_SESSION", "BRACHY_SESSION", "FRACTION_SESSION", "CONTROL_POINT")
_TAGS = ["SOPClassUID", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"]


@dataclass
class RtPatient:
    """The files of one patient and study.

    Attributes
    ----------
    subject: PatientID. source: their folder, relative to the data set.
    ct: {SeriesInstanceUID: files}. structures, doses, plans: RTSTRUCT, RTDOSE and RTPLAN files.
    """

    subject: str
    source: str = ""
    ct: dict[str, list[Path]] = field(default_factory=dict)
    structures: list[Path] = field(default_factory=list)
    doses: list[Path] = field(default_factory=list)
    plans: list[Path] = field(default_factory=list)

    @property
    def where(self) -> str:
        """Its name in messages."""
        return f"{self.source} (patient {self.subject})"


def records(
    source: Path, *, table: Path | None = None, size: int | None = None, spacing: Sequence[float] | None = None
) -> tuple[Task, list[RecordSource]]:
    """The patients below `source`, and their task.

    All records have the same spacing, so that the largest body (or scan, if no body is drawn) just fits into the grid.
    A `MedleyNotice` lists the names of structures that match no row of the table.

    Parameters
    ----------
    source: the folder. table: CSV with the columns name and structure; None takes `structures.csv` of the folder.
    size: voxels along each axis; None is 64.
    spacing: of the voxels, mm along (slice, row, column); None: see above.

    Raises
    ------
    MedleyError: there are no files or no table, the table lacks a column, or a file cannot be read.
    """
    patients, size = _patients(source), size or SIZE
    mapped = read_structure_names(
        table or source / "structures.csv", lambda: {roi.name for one in patients for roi in _drawn(one)}
    )
    names: Counter[tuple[str, str]] = Counter()
    extents, fault = [], None
    for one in patients:
        try:
            rois = _drawn(one)
            extents.append(_extent(one, rois, mapped))
            names.update({roi.name: roi.interpreted for roi in rois}.items())
        except MedleyError as error:  # reading that patient reports it again, unless it is excluded
            fault = error
    if fault and not extents:
        raise fault
    if unknown := mapped.unknown(names):
        warnings.warn(unknown, MedleyNotice, stacklevel=2)
    # Half a voxel is left on either side.
    fitting = tuple(float(mm) for mm in (np.max(extents, axis=0) / (size - 1)).round(3))
    task = _task(mapped, size, tuple(spacing or fitting), patients)
    return task, [
        RecordSource(
            id=identifier,
            source=one.source,
            subject=one.subject,
            split=split_by_name(one.subject),
            read=partial(_read, one, mapped, task),
        )
        for identifier, one in zip(_ids(patients), patients, strict=True)
    ]


def _patients(source: Path) -> list[RtPatient]:
    if not source.is_dir():
        raise MedleyError(f"{source} is not a folder; give the one that holds the patients")
    found: dict[tuple[str, str], RtPatient] = {}
    for path in sorted(one for one in source.rglob("*") if one.is_file() and not one.name.startswith(".")):
        if not looks_like_dicom(path):
            continue
        header = read_header(path, tags=_TAGS)
        with reading(path):
            modality, subject = str(header.get("Modality") or ""), str(header.get("PatientID") or "")
            key = subject, str(header.get("StudyInstanceUID") or "")
            series = str(header.get("SeriesInstanceUID") or "")
        if modality not in ("CT", "RTSTRUCT", "RTDOSE", "RTPLAN"):
            continue
        if not subject:
            raise MedleyError(f"{path}: has no PatientID, so its patient is unknown")
        one = found.setdefault(key, RtPatient(subject))
        if modality == "CT":
            one.ct.setdefault(series, []).append(path)
        else:
            {"RTSTRUCT": one.structures, "RTDOSE": one.doses, "RTPLAN": one.plans}[modality].append(path)
    patients = [one for one in found.values() if one.ct]
    if left := sorted({one.subject for one in found.values() if not one.ct}):
        notice = f"{source}: these patients have a study without a CT, which is skipped: {', '.join(left)}"
        warnings.warn(notice, MedleyNotice, stacklevel=3)
    if not patients:
        raise MedleyError(f"{source} holds no CT series in DICOM; expected CT, RTSTRUCT and RTDOSE of each patient")
    for one in patients:
        files = [*(path for series in one.ct.values() for path in series), *one.structures, *one.doses]
        folder = Path(commonpath([path.parent for path in files]))
        one.source = folder.relative_to(source).as_posix() if folder != source else one.subject
    return sorted(patients, key=lambda one: one.source)


def _drawn(one: RtPatient) -> list[Roi]:
    return [roi for path in one.structures for roi in read_rois(path) if roi.drawn]


def _extent(one: RtPatient, rois: Sequence[Roi], table: StructureNames) -> np.ndarray:
    """Size in mm along (slice, row, column) of the body as drawn, else of the scan."""
    bodies = [roi for roi in rois if roi.contours and table.structure(roi.name, roi.interpreted) == BODY]
    if bodies:
        with reading(one.where):
            points = [np.array(contour.ContourData, np.float64).reshape(-1, 3) for contour in bodies[0].contours]
        return np.ptp(np.concatenate(points) @ RAS_FROM_LPS[:3, :3].T @ DIRECTIONS, axis=0)
    scan = _scan(one)
    first, last = extent(scan.shape, scan.affine)
    return last - first


def _scan(one: RtPatient) -> Volume:
    """The CT, not yet read; if there are several series, the one that the contours were drawn on."""
    series = one.ct
    if len(series) > 1:
        named = {uid for path in one.structures for uid in series_of(path)}
        series = {uid: files for uid, files in series.items() if uid in named}
    if len(series) != 1:
        raise MedleyError(
            f"{one.where}: holds {len(one.ct)} CT series, and its RTSTRUCT does not tell which one was planned on; "
            "leave only that one there"
        )
    return open_series(next(iter(series.values())), one.where)


def _task(table: StructureNames, size: int, spacing: tuple[float, ...], patients: Sequence[RtPatient]) -> Task:
    names = table.structures
    prescribed = [dose for one in patients for path in one.plans for dose in _prescribed(path)]
    dose = Target(name="dose", kind="map", unit="Gy", scale=max(prescribed, default=GRAY), within=REGION)
    masks = Target(name="segmentation", kind="structures", names=names, swaps=mirrored_pairs(names))
    return Task(
        name="dicom_rt",
        title="Radiotherapy plans: dose and structures",
        modality="CT",
        channels=("CT",),
        range=(AIR, 1000),
        unit="HU",
        grid=(size, size, size),
        spacing=spacing,
        flips=(2,),
        targets=(dose, masks) if any(one.doses for one in patients) else (masks,),
    )


def _prescribed(path: Path) -> list[float]:
    """The doses in Gy that a plan prescribes to its targets."""
    header = read_header(path)
    with reading(path):
        references = header.get("DoseReferenceSequence") or ()
        return [float(one.TargetPrescriptionDose) for one in references if one.get("TargetPrescriptionDose")]


def _ids(patients: Sequence[RtPatient]) -> list[str]:
    """PatientID reduced to letters, digits, ".", "_" and "-"; a patient's second and later studies get a number."""
    seen: Counter[str] = Counter()
    ids = []
    for one in patients:
        name = re.sub(r"[^\w.-]+", "-", one.subject, flags=re.ASCII)
        seen[name] += 1
        ids.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return ids


def _read(one: RtPatient, table: StructureNames, task: Task) -> RecordData:
    for what, files in (("RTSTRUCT", one.structures), ("RTDOSE", one.doses)):
        if len(files) > 1:
            listed = ", ".join(path.name for path in files)
            raise MedleyError(f"{one.where}: holds {len(files)} {what} files ({listed}), expected one; leave one there")
    scan = _scan(one)
    structures = read_structures(one.structures[0], scan) if one.structures else None
    drawn = table.named(structures) if structures else {}
    if not (drawn.keys() - {BODY} or one.doses):
        found = ", ".join(structures or ()) or "none"
        raise MedleyError(
            f"{one.where}: has no target: no RTDOSE, and none of its structures ({found}) has a row in {table.path}; "
            "complete it or leave it out with --exclude"
        )
    hu, affine, _, _ = lay_along_patient(scan, task.spacing, AIR)
    try:
        view = view_body(hu, affine, task.grid)
    except MedleyError as error:
        raise MedleyError(f"{one.where}: {error}") from None

    seen = partial(averaged, affine=scan.affine, new_affine=view.affine, new_shape=task.grid)
    arrays = {"input": np.rint(view.array)[None].astype(np.int16)}
    masks = np.zeros((len(table.structures), *task.grid), np.uint8)
    needed = np.zeros(scan.shape, bool)
    for k, structure in enumerate(table.structures):
        if structures and structure in drawn:
            mask = structures[drawn[structure]]
            needed |= mask
            masks[k] = mask_on_grid(mask, scan.affine, view.affine, task.grid)
    there = tuple(structure for k, structure in enumerate(table.structures) if masks[k].any())
    if there:
        arrays["segmentation"] = masks
    if one.doses:
        region = seen(structures[drawn[BODY]]) > 0 if structures and BODY in drawn else view.body
        arrays |= _dose(one, scan, needed, region, seen)
    return RecordData(arrays, task.spacing, drawn={"segmentation": there})


def _dose(
    one: RtPatient, scan: Volume, needed: np.ndarray, region: np.ndarray, seen: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """The dose and the region in which it is scored: the part of the body that the dose grid covers."""
    dose = read_dose(one.doses[0])
    if dose.source.summation in PARTS:
        raise MedleyError(
            f"{one.doses[0]}: is the dose of a part of the treatment (DoseSummationType {dose.source.summation}); "
            "expected that of the plan"
        )
    gray = seen(np.asarray(dose_on_grid(dose, scan, within=needed).data))
    region = region & (seen(covered(dose, scan)) >= 0.5)
    return {
        "dose": np.where(region, gray, 0)[None].astype(np.float32),
        REGION: region[None].astype(np.uint8),
    }
