"""What can be asked of a scan, as plain data: names, units, value ranges, and the window the papers score in.

Sources: TAT (arXiv 2512.14550, sec. 4.1) and AMIR (arXiv 2405.19769, sec. 3.1) for ranges, windows and degradations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medley.errors import MedleyError
from medley.runtime.text import did_you_mean


@dataclass(frozen=True)
class Task:
    """One thing that can be asked of a scan.

    Attributes
    ----------
    name: what the command line and the manifests call it.
    title: for people.
    kind: "restoration" (the answer is an image).
    modality: DICOM's code of the scans it is for: "CT", "MR" or "PT".
    unit: the unit of the values it takes and gives.
    range: the values, in `unit`, that are mapped to [0, 1].
    scaled: True where scanners know no common range (MR): `range` is then the papers' own, and the values of a scan
        are brought to it by a factor of that scan, its 99.9th percentile to the upper end; nothing is clipped.
    window: the values, in `unit`, that the papers clip to before they score.
    degradation: its name in `medley.physics` and the parameters of the default.
    metrics: names in `medley.metrics.image`.
    """

    name: str
    title: str
    modality: str
    unit: str
    range: tuple[float, float]
    window: tuple[float, float]
    kind: str = "restoration"
    scaled: bool = False
    degradation: Mapping[str, Any] = field(default_factory=dict)
    metrics: tuple[str, ...] = ("psnr", "ssim", "rmse")


@dataclass(frozen=True)
class Normalisation:
    """The line that takes values in a physical unit to [0, 1] and back; works on numbers, arrays and tensors.

    Attributes
    ----------
    low, high: the values that become 0 and 1.
    clip: whether `apply` clips to [0, 1]. It does not where the range was taken from the scan itself: the 0.1 %
        brightest voxels of an MR scan lie above 1, and clipping would flatten them.
    """

    low: float
    high: float
    clip: bool = True

    def apply(self, values: Any) -> Any:
        """Physical unit -> [0, 1]."""
        unit = (values - self.low) / (self.high - self.low)
        return unit.clip(0, 1) if self.clip else unit

    def undo(self, values: Any) -> Any:
        """[0, 1] -> physical unit."""
        return values * (self.high - self.low) + self.low


_TASKS = (
    Task(
        name="mr-sr",
        title="MR super-resolution",
        modality="MR",
        unit="a.u.",
        range=(0, 4095),
        window=(0, 4095),
        scaled=True,
        degradation={"name": "mr-truncation", "keep": 0.25},
    ),
    Task(
        name="ct-denoise",
        title="CT denoising",
        modality="CT",
        unit="HU",
        range=(-1024, 3071),
        window=(-160, 240),
        degradation={"name": "ct-low-dose", "dose": 0.25},
    ),
    Task(
        name="pet-denoise",
        title="PET from low counts",
        modality="PT",
        unit="SUV",
        range=(0, 20),
        window=(0, 20),
        degradation={"name": "pet-low-count", "reduction": 10},
    ),
)

TASKS: Mapping[str, Task] = {task.name: task for task in _TASKS}


def task_named(name: str) -> Task:
    """The task of that name.

    Raises
    ------
    MedleyError: no such task; the message lists those there are.
    """
    if name not in TASKS:
        raise MedleyError(f"there is no task {name!r}; the tasks are {', '.join(TASKS)}{did_you_mean(name, TASKS)}")
    return TASKS[name]


def task_for_modality(modality: str) -> Task | None:
    """The task for scans of a DICOM modality, or None when there is none."""
    return next((task for task in _TASKS if task.modality == modality), None)
