"""Layout "openkbp": radiotherapy plans of head and neck, CT with dose, organs and targets.

Babier et al., "OpenKBP: The open-access knowledge-based planning grand challenge and dataset", Medical Physics, 2021.
Two forms, recognised by the content of SOURCE (folders train, valid and test, with or without "-pats" behind the name):

    SPLIT/pt_N/{ct,dose,possible_dose_mask,voxel_dimensions,Brainstem,...}.csv    of the challenge, 128 voxels per side
    SPLIT/pt_N.npz                                                                compact, of any size

The challenge counts voxels along (anterior to posterior, right to left, head to feet), that is (row, column,
slice); records have them in the order of medley.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from medley.data.layouts.study import SPLITS, RecordData, RecordSource, split_by_name
from medley.errors import MedleyError
from medley.geometry.resampling import to_size
from medley.runtime.guard import reading
from medley.targets import Target
from medley.tasks import Task

ORGANS = ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible")
PTVS = ("PTV56", "PTV63", "PTV70")
REGION = "possible_dose"
MASKS = (*ORGANS, *PTVS, REGION)  # in the order of the bits of the compact files
SIDE = 128  # of the challenge's files
CT_LIMITS = 0, 4095  # as the challenge advises; a few voxels of metal are above
STORED_OFFSET = -1000  # the files store HU + 1000
STORED_CT = 0, 65535  # HU + 1000; metal ends at 32743 in the published files
DOSES = 0, 200  # Gy; the highest dose of the published plans is below 90


@dataclass(frozen=True)
class OpenKbpPatient:
    """One patient as the files have it: (n, n, n) arrays along (anterior to posterior, right to left, head to feet).

    ct: HU + 1000. dose: Gy, or None. masks: those of `MASKS` that have a voxel. voxel: mm along each axis.
    """

    ct: np.ndarray
    dose: np.ndarray | None
    masks: dict[str, np.ndarray]
    voxel: tuple[float, ...]


def records(source: Path, *, table: Path | None = None, size: int | None = None) -> tuple[Task, list[RecordSource]]:
    """The patients below `source`, and their task.

    Parameters
    ----------
    source: the folder with the folders of the splits, or patients themselves (then split by name).
    table: not used by this layout.
    size: voxels along each axis: as in the files, or half as many (see `halved`). None: as in the files.

    Raises
    ------
    MedleyError: there is no patient, a table is given, or the size is neither of these.
    """
    if table:
        raise MedleyError(f"{table}: the layout openkbp takes no table; the folders give the splits")
    found = list(_patients(source))
    if not found:
        raise MedleyError(
            f"{source} holds no OpenKBP patient; expected train/pt_1.npz, or train-pats/pt_1/ct.csv, and so on"
        )
    side, spacing = _grid([path for path, split in found if split == "train"] or [path for path, _ in found])
    size = size or side
    if size not in (side, side // 2):
        raise MedleyError(
            f"{source}: patients have {side} voxels per side, which can become {side // 2}, but not {size}"
        )
    listed = [
        RecordSource(
            id=path.stem,
            source=path.relative_to(source).as_posix(),
            subject=path.stem,
            split=split,
            read=partial(_read, path, side, size),
        )
        for path, split in found
    ]
    return _task(size, tuple(round(side / size * mm, 3) for mm in spacing)), listed


def halved(patient: OpenKbpPatient) -> OpenKbpPatient:
    """The patient with half as many voxels along each axis.

    CT (limited to 0..4095, rounded) and dose are means of 2 x 2 x 2 blocks. A block belongs to an organ if 4 of its
    voxels do (or any, if that leaves no block). It belongs to a target if 4 are in any target, and is assigned to the
    one with most of its voxels, on a tie to the smaller one; so targets do not overlap. Dose is possible where it is
    possible in any voxel.
    """
    half = (len(patient.ct) // 2,) * 3
    counts = {name: np.rint(8 * to_size(mask, half)) for name, mask in patient.masks.items()}
    masks = {name: (n >= 4 if (n >= 4).any() else n > 0) for name, n in counts.items() if name in ORGANS}
    ptvs = sorted((name for name in PTVS if name in counts), key=lambda name: patient.masks[name].sum())
    if ptvs:
        union = to_size(np.any([patient.masks[name] for name in ptvs], axis=0), half) >= 0.5
        most = np.argmax([counts[name] for name in ptvs], axis=0)  # on a tie the first, which is the smaller one
        masks |= {name: union & (most == k) for k, name in enumerate(ptvs)}
    if REGION in counts:
        masks[REGION] = counts[REGION] > 0
    return OpenKbpPatient(
        ct=np.rint(to_size(patient.ct.clip(*CT_LIMITS), half)),
        dose=None if patient.dose is None else to_size(patient.dose, half),
        masks={name: mask for name, mask in masks.items() if mask.any()},
        voxel=tuple(2 * mm for mm in patient.voxel),
    )


def read_patient(path: Path, side: int = SIDE) -> OpenKbpPatient:
    """A patient from a compact file or a folder of CSVs, with `side` voxels along each axis.

    Raises
    ------
    MedleyError: a file that is missing, cannot be read, or holds something else.
    """
    patient = _from_csv(path, side) if path.is_dir() else _from_npz(path, side)
    for name, array, (low, high), unit in (
        ("ct", patient.ct, STORED_CT, "HU + 1000"),
        ("dose", patient.dose, DOSES, "Gy"),
    ):
        if array is None:
            continue
        wrong = ~((array >= low) & (array <= high))  # NaN too
        if wrong.any():
            found = array[wrong][0]
            raise MedleyError(
                f"{path}: {name} is {found:g} in {wrong.sum()} voxels, expected {low:g} to {high:g} {unit}; "
                "fetch it again"
            )
    return patient


def _read(path: Path, side: int, size: int) -> RecordData:
    patient = read_patient(path, side)
    if patient.dose is not None and REGION not in patient.masks:
        raise MedleyError(f"{path}: has a dose but no possible-dose mask, so it is not known where the dose is scored")
    if size != side:
        patient = halved(patient)
    empty = np.zeros(patient.ct.shape, bool)
    ours = {name: _turned(patient.masks.get(name, empty)).astype(np.uint8) for name in MASKS}
    arrays: dict[str, np.ndarray] = {
        "input": _turned(patient.ct + STORED_OFFSET)[None].astype(np.int16),
        "segmentation": np.stack([ours[name] for name in (*ORGANS, *PTVS)]),
    }
    if patient.dose is not None:
        arrays |= {"dose": _turned(patient.dose)[None].astype(np.float32), REGION: ours[REGION][None]}
    drawn = tuple(name for name in (*ORGANS, *PTVS) if name in patient.masks)
    return RecordData(arrays, _axes(patient.voxel), drawn={"segmentation": drawn})


def _task(size: int, spacing: tuple[float, ...]) -> Task:
    return Task(
        name="openkbp",
        title="Head-and-neck radiotherapy: dose, organs and targets",
        modality="CT",
        channels=("CT",),
        # Fat, muscle and the edges of bone. From air to dense bone (-1000 to 1000) soft tissue would have only a
        # twentieth of the range, and networks learn the organs more slowly.
        range=(-200, 300),
        unit="HU",
        grid=(size, size, size),
        spacing=spacing,
        flips=(2,),
        targets=(
            Target(name="dose", kind="map", unit="Gy", scale=70, within=REGION),  # 70 Gy: the highest prescription
            Target(
                name="segmentation",
                kind="structures",
                names=(*ORGANS, *PTVS),
                swaps=(("LeftParotid", "RightParotid"),),
            ),
        ),
    )


def _patients(source: Path) -> Iterator[tuple[Path, str]]:
    """(file or folder, split) of every patient, in the order of their numbers."""
    if not source.is_dir():
        raise MedleyError(f"{source} is not a folder; give the one that holds train, valid and test")
    folders = {one: SPLITS.get(one.name.lower().removesuffix("-pats")) for one in sorted(source.iterdir())}
    for folder, split in {source: "", **folders}.items():
        if split is None:
            continue
        inside = [*folder.glob("*.npz"), *(one for one in folder.glob("pt_*") if one.is_dir())]
        for path in sorted(inside, key=lambda path: (len(path.name), path.name)):  # pt_2 before pt_10
            yield path, split or split_by_name(path.stem)


def _grid(paths: list[Path]) -> tuple[int, np.ndarray]:
    """Voxels per side, and the median size of a voxel (slice, row, column) in mm."""
    headers = []
    for path in paths:
        with suppress(MedleyError):  # reading that record reports the error, unless it is excluded
            headers.append(_header(path))
    side = (headers or [_header(paths[0])])[0][0]
    return side, np.median([_axes(voxel) for _, voxel in headers], axis=0)


def _header(path: Path) -> tuple[int, tuple[float, ...]]:
    """Voxels per side, and the size of a voxel in mm, in the order of the file."""
    if path.is_dir():
        return SIDE, _voxel_from_csv(path / "voxel_dimensions.csv")
    with _reading(path), path.open("rb") as raw, np.load(raw) as file:  # opened here: numpy leaves broken ones open
        return len(file["ct"]), _voxel(file["voxel_dimensions"], path)


def _from_npz(path: Path, side: int) -> OpenKbpPatient:
    with _reading(path), path.open("rb") as raw, np.load(raw) as file:
        arrays = {name: file[name] for name in file.files}
        for name, array in arrays.items():
            if array.dtype.kind not in ("iu" if name == "masks" else "iuf"):
                raise MedleyError(f"{path}: {name} has the type {array.dtype}, expected numbers; fetch it again")
        ct, bits, voxel = arrays["ct"], arrays["masks"], arrays["voxel_dimensions"]
    dose = arrays["dose_mgy"] / 1000 if "dose_mgy" in arrays else arrays.get("dose")
    for name, array in (("ct", ct), ("masks", bits), ("dose", dose)):
        if array is not None and array.shape != (side, side, side):
            raise MedleyError(f"{path}: {name} has shape {array.shape}, expected {(side, side, side)} as the others")
    masks = {name: (bits >> bit & 1).astype(bool) for bit, name in enumerate(MASKS)}
    return OpenKbpPatient(ct, dose, {name: mask for name, mask in masks.items() if mask.any()}, _voxel(voxel, path))


def _from_csv(folder: Path, side: int) -> OpenKbpPatient:
    dose = folder / "dose.csv"
    masks = {}
    for name in MASKS:
        file = folder / f"{'possible_dose_mask' if name == REGION else name}.csv"
        if file.exists() and (mask := _sparse(file, side, mask=True)).any():
            masks[name] = mask.astype(bool)
    return OpenKbpPatient(
        ct=_sparse(folder / "ct.csv", side),
        dose=_sparse(dose, side) if dose.exists() else None,
        masks=masks,
        voxel=_voxel_from_csv(folder / "voxel_dimensions.csv"),
    )


def _sparse(path: Path, side: int, *, mask: bool = False) -> np.ndarray:
    """The array of a CSV with a line for each voxel that is not 0: flat index in C order and, but in masks, value."""
    with _reading(path), path.open() as file:
        next(file)  # the header
        lines = [line.rstrip().split(",") for line in file]
        index = np.array([line[0] for line in lines], np.int64)
        values = 1 if mask else np.array([line[1] for line in lines], np.float64)
    if index.size and not 0 <= index.min() <= index.max() < side**3:
        raise MedleyError(f"{path}: names voxel {index.max()}, but {side} x {side} x {side} voxels are expected")
    listed, counts = np.unique(index, return_counts=True)
    if (counts > 1).any():
        raise MedleyError(f"{path}: lists voxel {listed[counts > 1][0]} twice; fetch it again")
    dense = np.zeros(side**3)
    dense[index] = values
    return dense.reshape(side, side, side)


def _voxel_from_csv(path: Path) -> tuple[float, ...]:
    with _reading(path):
        return _voxel(np.array(path.read_text().split(), np.float64), path)


def _voxel(values: np.ndarray, path: Path) -> tuple[float, ...]:
    if values.shape != (3,) or values.dtype.kind not in "fiu" or not ((values > 1e-3) & (values < 1e3)).all():
        raise MedleyError(f"{path}: the size of a voxel is {values.tolist()}, expected three numbers of mm")
    return tuple(float(mm) for mm in values)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """The shared guard around readers; a missing array or file is named."""
    with reading(path, "an OpenKBP file"):
        try:
            yield
        except KeyError as error:
            raise MedleyError(f"{path}: has no array {error}; expected ct, masks, voxel_dimensions and dose") from None
        except FileNotFoundError:
            raise MedleyError(f"{path}: cannot be read, it does not exist; fetch the patient again") from None


def _turned(array: np.ndarray) -> np.ndarray:
    """From the files' axes to (slice, row, column)."""
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def _axes(voxel: tuple[float, ...]) -> tuple[float, ...]:
    return voxel[2], voxel[0], voxel[1]
