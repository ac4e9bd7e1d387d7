"""The checks of one scan: what is measured in it, and the limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

import medley
from benchmarks.quality import measures
from benchmarks.quality.rows import Row
from medley.data.record import INPUT, Record
from medley.data.store import Store
from medley.errors import MedleyError
from medley.inference.restorer import normalisation_for
from medley.metrics.image import score
from medley.metrics.physical import Tissue, is_coarse
from medley.normalisation import Normalisation
from medley.physics import DEGRADATIONS
from medley.scoring.methods import Method
from medley.scoring.scorers import PIXELS_AT_ONCE
from medley.slabs import UNKNOWN, slabs_of
from medley.targets import IMAGE
from medley.tasks import TASKS, task_for_modality, task_named

LOST = -0.05  # dB, the lowest gain
BIAS = 1.0  # HU
TOTAL = 0.5  # percent of the total SUV
PEAK = 5.0  # percent of SUVmax
STRIPES = (0.9, 1.1)  # step ratio restored / before
TEXTURE = 0.8  # of the texture of trabecular bone


class Found(NamedTuple):
    """A measured value and its limits, as in `Row`."""

    check: str
    value: float
    unit: str
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True)
class Case:
    """A scan to restore and what it should become; both are the same for a scan that is not degraded.

    Attributes
    ----------
    scan: name. task: name of the restoration task.
    given, target: (slice, row, column) float32, in the unit of the task.
    spacing: mm along (slice, row, column).
    kind: what its rows are grouped by beside the task: the store and the strength of its degradation.
    """

    scan: str
    task: str
    given: np.ndarray
    target: np.ndarray
    normalisation: Normalisation
    spacing: tuple[float, ...] = UNKNOWN
    kind: str = ""

    @property
    def degraded(self) -> bool:
        """Whether anything was changed."""
        return not np.array_equal(self.given, self.target)

    @property
    def modality(self) -> str:
        """That of the task."""
        return TASKS[self.task].modality

    def restored(self, method: Method) -> np.ndarray:
        """The restored scan, (slice, row, column); computed from a few slices at a time."""
        count, rows, columns = self.given.shape
        size = max(1, PIXELS_AT_ONCE // (rows * columns))
        parts = [range(first, min(first + size, count)) for first in range(0, count, size)]
        slabs = (slabs_of(self.given, part, method.reach, self.spacing) for part in parts)
        return np.concatenate([method.restore(one, self.task, self.normalisation) for one in slabs])


def case_of_record(store: Store, record: Record) -> Case:
    """A record of a store of restoration records."""
    given, target = (np.asarray(store.array(record, name)[0], np.float32) for name in (INPUT, IMAGE))
    kind = DEGRADATIONS.get(record.degradation.get("name", ""))
    strength = f", {kind.strength(record.degradation['parameters']):g}" if kind else ""
    return Case(
        record.id,
        record.task,
        given,
        target,
        record.normalisation,
        record.spacing or UNKNOWN,
        store.path.name + strength,
    )


def case_of_scan(path: Path, task: str = "") -> Case:
    """A whole scan that is not degraded: a DICOM folder, or a file with the task of its modality or the given one.

    Raises
    ------
    MedleyError: it cannot be read, or its task is neither given nor known.
    """
    volume = medley.read(path)
    chosen = task_named(task) if task else task_for_modality(volume.modality)
    if chosen is None:
        raise MedleyError(f"{path}: the file does not state its modality; state its task as TASK={path}")
    values = np.asarray(volume.data, np.float32)
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    return Case(name, chosen.name, values, values, normalisation_for(volume, chosen), volume.spacing, "whole scans")


def check(case: Case, method: Method, model: str) -> list[Row]:
    """All rows of one scan and one restorer."""
    restored = case.restored(method)
    parts = [_gain if case.degraded else _change, _stripes]
    parts += {"CT": [_hounsfield, _texture], "PT": [_uptake]}.get(case.modality, [])
    return [
        Row(model, f"{found.check}, {case.task}, {case.kind}", case.scan, *found[1:])
        for part in parts
        for found in part(case, restored)
    ]


def _gain(case: Case, restored: np.ndarray) -> Iterator[Found]:
    """PSNR by the papers' protocol."""
    before, after = (
        score(one, case.target, case.task, full_scale=case.normalisation.high)["psnr"] for one in (case.given, restored)
    )
    yield Found("PSNR of the input", before, "dB")
    yield Found("PSNR restored", after, "dB")
    yield Found("gain", after - before, "dB", low=LOST)


def _change(case: Case, restored: np.ndarray) -> Iterator[Found]:
    """Instead of PSNR, which is infinite for the input."""
    task = TASKS[case.task]
    factor, unit = (100 / case.normalisation.high, "% of P99.9") if task.scaled else (1.0, task.unit)
    noise, averaged = (factor * one for one in measures.own_noise(case.target))
    yield Found("own noise", noise, unit)
    yield Found("own noise over 2 x 2 pixels", averaged, unit)
    yield Found("change", factor * measures.body_change(restored, case.target), unit, high=noise)
    low, high = measures.amplitudes_kept(case.given, restored)
    yield Found("amplitude kept at low frequencies", low, "ratio")
    yield Found("amplitude kept at high frequencies", high, "ratio")


def _hounsfield(case: Case, restored: np.ndarray) -> Iterator[Found]:
    biases = measures.block_biases(restored, case.target, case.spacing)
    if biases.size:
        if not case.degraded and not is_coarse(case.spacing):
            tissue = Tissue(case.spacing)
            tissue.add(case.target, case.target, range(len(case.target)))
            yield Found("own noise in homogeneous blocks", tissue.values()["noise"], "HU")
        yield Found("mean HU", float(biases.mean()), "HU", -BIAS, BIAS)
        yield Found("mean HU, farthest block", float(biases[np.abs(biases).argmax()]), "HU")


def _texture(case: Case, restored: np.ndarray) -> Iterator[Found]:
    """Only where pixels are small enough to show trabeculae, at full dose."""
    if not case.degraded and not is_coarse(case.spacing):
        kept = measures.texture_kept(restored, case.target)
        if np.isfinite(kept):
            yield Found("texture of bone", kept, "ratio", low=TEXTURE)


def _uptake(case: Case, restored: np.ndarray) -> Iterator[Found]:
    """Total SUV, and SUVmax of hot spots: within the limit, and at full counts not below it."""
    total, wanted = (float(one.sum(dtype=np.float64)) for one in (restored, case.target))
    if wanted:
        yield Found("total SUV", 100 * (total / wanted - 1), "%", -TOTAL, TOTAL)
    changes = 100 * (measures.hot_spot_ratios(restored, case.target) - 1)
    if changes.size:
        yield Found("SUVmax of hot spots", float(changes.mean()), "%", -PEAK, PEAK if case.degraded else np.inf)
        yield Found("SUVmax of the worst hot spot", float(changes.min()), "%")
        yield Found("hot spots", float(changes.size), "count")


def _stripes(case: Case, restored: np.ndarray) -> Iterator[Found]:
    """PET, and all scans that are not degraded; within the tissue of the target."""
    if case.degraded and case.modality != "PT":
        return
    inside = measures.tissue(case.target, case.modality)
    given, after, wanted = (measures.step_ratio(one, inside) for one in (case.given, restored, case.target))
    if not np.isfinite(given):
        return
    yield Found("step ratio of the input", given, "ratio")
    yield Found("step ratio restored", after, "ratio")
    yield Found("stripes", after / given, "ratio", *STRIPES)
    if case.degraded:
        yield Found("step ratio of the target", wanted, "ratio")
