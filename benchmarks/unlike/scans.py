"""Foreign inputs of restorers: what is not a scan of the task, although the file or the user says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from medley.io.files import find_scans, open_scan
from medley.tasks import Task, task_named
from medley.volume import Volume

SCANS = 3  # scans of each kind that an input is made from
_SHAPE = (12, 192, 192)
_AFFINE = np.diag([-1.0, -1.0, 3.0, 1.0])[:, [2, 1, 0, 3]]  # 3 mm slices of 1 mm pixels


@dataclass(frozen=True)
class Foreign:
    """A foreign input.

    Attributes
    ----------
    kind: of input; rates are computed for each. name: of this one. scan: a volume, or a photograph (row, column, 3).
    """

    kind: str
    name: str
    scan: Volume | np.ndarray


def foreign_scans(task: str, data: Path, seed: int = 0) -> Iterator[Foreign]:
    """The foreign inputs of a restoration task.

    Parameters
    ----------
    data: the folder that holds `restoration` and `more`. seed: of noise.
    """
    of = task_named(task)
    rng = np.random.default_rng(seed)
    yield from _noise(of, rng)
    yield from _phantoms(of)
    own = {one: _scans(data, one) for one in ("ct-denoise", "mr-sr", "pet-denoise")}
    for other, scans in own.items():
        if other != task:
            for name, scan in scans:
                yield Foreign(f"{task_named(other).modality} scan", name, _of(of, scan, np.asarray(scan.data)))
    for name, scan in own[task]:
        values = np.asarray(scan.data)
        for kind, changed in _wrong_values(of, values, rng):
            yield Foreign(kind, name, _of(of, scan, changed))
        for factor in (0.1, 10):
            affine = scan.affine @ np.diag([factor, factor, factor, 1])
            yield Foreign(f"voxels {factor:g} times as large", name, _of(of, scan, values, affine))
    if of.modality == "CT":
        for path in sorted((data / "more/ct_dose_phantom/valid").glob("*.npz")):
            yield Foreign("low-contrast phantom", path.stem, _volume(of, np.load(path)["hu"].astype(np.float32)))
    for kind in ("ultrasound/valid/images", "xray/valid", "histology/valid", "oct/valid"):
        for path in sorted((data / "more" / kind).glob("*.png"))[:SCANS]:
            yield Foreign(f"{kind.partition('/')[0]} picture", path.stem, _volume(of, _grey(path)[None]))


def _noise(task: Task, rng: np.random.Generator) -> Iterator[Foreign]:
    low, high = task.range
    yield Foreign("noise", "uniform", _volume(task, rng.uniform(low, high, _SHAPE)))
    yield Foreign("noise", "normal", _volume(task, rng.normal((low + high) / 2, (high - low) / 6, _SHAPE)))
    coarse = ndimage.gaussian_filter(rng.normal(0, 1, _SHAPE), (0, 3, 3))
    yield Foreign("noise", "smooth", _volume(task, low + (high - low) * (0.5 + coarse / coarse.std() / 6)))
    yield Foreign("nothing", "lowest value", _volume(task, np.full(_SHAPE, low)))
    yield Foreign("nothing", "air with noise", _volume(task, np.abs(rng.normal(0, 0.01 * (high - low), _SHAPE)) + low))


def _phantoms(task: Task) -> Iterator[Foreign]:
    """A homogeneous cylinder, and blocks of different values, without noise."""
    low, high = task.window
    row, column = np.mgrid[: _SHAPE[1], : _SHAPE[2]] - 95.5
    cylinder = np.where(np.hypot(row, column) < 70, (low + high) / 2, task.range[0])
    blocks = low + (high - low) * ((row // 24 + column // 24) % 3) / 2
    for name, image in {"cylinder": cylinder, "blocks": blocks}.items():
        yield Foreign("geometric phantom", name, _volume(task, np.broadcast_to(image, _SHAPE).copy()))


def _wrong_values(task: Task, values: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    high = np.quantile(values, 0.999)
    if task.modality == "CT":
        yield "HU + 1024, as stored", values + 1024
        yield "attenuation in 1/cm", 0.2 * (1 + values / 1000)
        yield "window of 8 bits", (values.clip(-160, 240) + 160) * 255 / 400
    if task.modality == "PT":
        yield "Bq/ml", 5000 * values
        yield "SUV / 1000", values / 1000
        yield "window of 8 bits", values.clip(0, 10) * 25.5
    if task.modality == "MR":
        yield "logarithm", np.log1p(np.maximum(values, 0))
        yield "phase", np.angle(np.exp(1j * values / high * 6))
    yield "inverted", (high + values.min()) - values
    yield "label map", np.digitize(values, np.quantile(values, (0.5, 0.7, 0.9))).astype(np.float32)
    yield "gradient image", ndimage.gaussian_gradient_magnitude(values, (0, 1, 1))
    yield "blurred, sigma 6 pixels", ndimage.gaussian_filter(values, (0, 6, 6))
    spread = {"CT": 600.0, "PT": 0.5 * high, "MR": 0.5 * high}[task.modality]
    yield "buried in noise", values + rng.normal(0, spread, values.shape)


def _scans(data: Path, task: str) -> list[tuple[str, Volume]]:
    """The first validation scans of a task."""
    folder = data / "restoration" / {"ct-denoise": "ct", "mr-sr": "mri", "pet-denoise": "pet"}[task] / "valid"
    return [(scan.name, open_scan(scan).load()) for scan in find_scans(folder)[:SCANS]]


def _of(task: Task, scan: Volume, values: np.ndarray, affine: np.ndarray | None = None) -> Volume:
    values = np.ascontiguousarray(values, np.float32)
    return Volume(values, scan.affine if affine is None else affine, task.modality, task.unit)


def _volume(task: Task, values: np.ndarray) -> Volume:
    return Volume(np.ascontiguousarray(values, np.float32), _AFFINE, task.modality, task.unit)


def _grey(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("L"), np.float32)
