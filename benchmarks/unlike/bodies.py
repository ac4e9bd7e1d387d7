"""Foreign inputs of networks that predict from a head-and-neck CT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.unlike.scans import Foreign
from medley.io.files import find_scans, open_scan
from medley.volume import Volume

AIR = -1000.0
PATIENTS = 5  # of the data set, from which wrong inputs are made
_SHAPE, _SPACING = (60, 128, 128), (5.0, 4.0, 4.0)
_AFFINE = np.array([[0, 0, -4.0, 0], [0, -4.0, 0, 0], [-5.0, 0, 0, 0], [0, 0, 0, 1]])


def foreign_bodies(patients: list[tuple[str, Volume]], data: Path, seed: int = 0) -> Iterator[Foreign]:
    """The foreign inputs of a network for head-and-neck CT.

    Parameters
    ----------
    patients: (name, scan) of valid inputs, of which wrong ones are made.
    data: the folder that holds `restoration`, `dicom` and `more`. seed: of noise.
    """
    rng = np.random.default_rng(seed)
    others = {
        "abdomen": [data / "restoration/ct/valid/crlm_1004_abdomen.nii.gz", data / "dicom/ct_crlm_1004"],
        "chest": [
            data / "restoration/ct/train/lidc_0314_chest.nii.gz",
            *sorted((data / "more/ct_kernel_pairs/valid").glob("*.nii.gz")),
        ],
    }
    for kind, paths in others.items():
        for path in paths:
            scan = open_scan(find_scans(path)[0]).load()
            yield Foreign(kind, path.name, _ct(np.asarray(scan.data), scan.affine))
            longer = _repeated(scan, 300.0)
            yield Foreign(f"{kind}, repeated to 300 mm", path.name, longer)
    yield from _other_modalities(data)
    yield from _noise(rng)
    yield from _phantoms(rng)
    for path in sorted((data / "more/ct_dose_phantom/valid").glob("*.npz")):
        hu = np.load(path)["hu"].astype(np.float32)
        yield Foreign(
            "low-contrast phantom", path.stem, _ct(np.repeat(hu, 6, axis=0), _AFFINE * 0.5 + np.diag([0, 0, 0, 0.5]))
        )
    for name, scan in patients[:PATIENTS]:
        for kind, values, affine in _wrong(np.asarray(scan.data), scan.affine):
            yield Foreign(kind, name, _ct(values, affine))


def _wrong(values: np.ndarray, affine: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    yield "HU + 1024, as stored", values + 1024, affine
    yield "HU / 1000", values / 1000, affine
    yield "HU, contrast doubled", np.where(values > -900, 2 * values, values), affine
    yield "window of 8 bits", (values.clip(-160, 240) + 160) * 255 / 400, affine
    yield "inverted", np.where(values > -900, -values, values), affine
    yield "head and feet exchanged", values[::-1], affine
    yield "axes exchanged", values.swapaxes(0, 1), affine
    for factor in (0.1, 0.5, 2, 5):
        yield f"voxels {factor:g} times as large", values, affine @ np.diag([factor, factor, factor, 1])
    yield "two slices", values[len(values) // 2 :][:2], affine
    yield "body of water", np.where(values > -500, 0, AIR), affine
    yield "HU, contrast halved", np.where(values > -900, values / 2, values), affine
    yield "HU + 200 in the body", np.where(values > -900, values + 200, values), affine
    yield "front and back exchanged", values[:, ::-1], affine
    yield "left half only", np.where(np.arange(values.shape[2]) < values.shape[2] // 2, AIR, values), affine
    yield "every second slice missing, spacing as before", values[::2], affine
    yield "bone only", np.where(values > 200, values, AIR), affine
    yield "body of noise", np.where(values > -500, np.random.default_rng(0).normal(0, 300, values.shape), AIR), affine


def _other_modalities(data: Path) -> Iterator[Foreign]:
    """MR and PET scans, stretched to -1000 to 1000 HU."""
    for kind, folder in {"MR as CT": "mri/valid", "PET as CT": "pet/valid"}.items():
        for one in find_scans(data / "restoration" / folder)[:PATIENTS]:
            scan = open_scan(one).load()
            values = np.asarray(scan.data)
            yield Foreign(
                kind, one.name, _ct(AIR + 2000 * (values / np.quantile(values, 0.999)).clip(0, 1), scan.affine)
            )


def _noise(rng: np.random.Generator) -> Iterator[Foreign]:
    yield Foreign("nothing", "air", _ct(np.full(_SHAPE, AIR), _AFFINE))
    yield Foreign("nothing", "air with noise", _ct(rng.normal(AIR, 20, _SHAPE), _AFFINE))
    yield Foreign("noise", "uniform", _ct(rng.uniform(-1000, 1000, _SHAPE), _AFFINE))
    yield Foreign("noise", "normal", _ct(rng.normal(0, 400, _SHAPE), _AFFINE))
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, _SHAPE), 4)
    yield Foreign("noise", "smooth", _ct(smooth / smooth.std() * 600 - 200, _AFFINE))


def _phantoms(rng: np.random.Generator) -> Iterator[Foreign]:
    """Cylinders, a sphere and a box of water, and a torso of ellipses with lungs and a spine."""
    z, y, x = ((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(_SHAPE, _SPACING, strict=True))
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    across = np.hypot(y, x) + 0 * z
    for mm in (160, 200, 320):
        yield Foreign("water phantom", f"cylinder of {mm} mm", _ct(np.where(across < mm / 2, 0, AIR), _AFFINE))
    yield Foreign("water phantom", "sphere", _ct(np.where(np.hypot(across, z) < 100, 0, AIR), _AFFINE))
    box = (np.abs(y) < 100) & (np.abs(x) < 150) & (np.abs(z) < 120)
    yield Foreign("water phantom", "box", _ct(np.where(box, 0, AIR), _AFFINE))
    torso = np.where((y / 110) ** 2 + (x / 170) ** 2 + 0 * z < 1, 40.0, AIR)
    torso[np.broadcast_to((y / 70) ** 2 + ((np.abs(x) - 85) / 50) ** 2 < 1, torso.shape)] = -800
    torso[np.broadcast_to(np.hypot(y - 80, x) < 15, torso.shape)] = 500
    yield Foreign("torso phantom", "ellipses", _ct(torso + rng.normal(0, 10, torso.shape), _AFFINE))


def _repeated(scan: Volume, mm: float) -> Volume:
    """The scan mirrored and repeated along its slices until it is long enough to fill the grid."""
    values = np.asarray(scan.data)
    count = int(np.ceil(mm / scan.spacing[0]))
    return _ct(np.pad(values, [(0, max(0, count - len(values))), (0, 0), (0, 0)], mode="symmetric"), scan.affine)


def _ct(values: np.ndarray, affine: np.ndarray) -> Volume:
    return Volume(np.ascontiguousarray(values, np.float32), affine, "CT", "HU")
