"""Tasks: an input and its targets, as plain data: names, units, value ranges, grids.

The restoration tasks are listed here. The task of a data set with other targets is defined by its layout, and stored in
the manifest of the store and in the weights that were trained on it.

Sources of ranges, windows and degradations: TAT (arXiv 2512.14550, sec. 4.1) and AMIR (arXiv 2405.19769, sec. 3.1) for
MR, CT and PET; UniH3 (arXiv 2609.11156, supplement) for X-ray, ultrasound, OCT and pathology.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from medley.errors import MedleyError
from medley.normalisation import Normalisation
from medley.runtime.registry import Registry
from medley.targets import IMAGE, Plain, Target


class Task(Plain):
    """An input and the targets that a network computes from it.

    Attributes
    ----------
    name: on the command line and in manifests. title: for display.
    modality: DICOM's code of the scans, such as "CT"; "" for photographs.
    channels: names of the input's channels: ("CT",) or ("red", "green", "blue").
    range: the values of the input, in `unit`, that become 0 and 1; values beyond are clipped.
    unit: unit of the input.
    scaled: True where scanners have no common range (MR): `range` is then that of the papers, and the values of a scan
        are scaled to it by a factor of that scan (its 99.9th percentile to the upper end), without clipping.
    grey: True for images in grey levels (X-ray, ultrasound, OCT, luminance): `range` is that of 8 bits, and the values
        of an image with more bits are scaled to it. Its width is the data range of PSNR and SSIM, as in UniH3.
    grid: number of voxels along each spatial axis, (slice, row, column) or (row, column), of all stored records; () if
        every record has its own size.
    spacing: mm along each axis of the grid, the median over the data set; () where a pixel has no size.
    framing: how a volume is brought to the grid: "body", at that spacing with the body in the middle, or "whole", the
        whole scan resized to it. Photographs are always whole.
    flips: axes of the grid along which a mirrored record is a valid record; the last one exchanges left and right.
    transposes: whether rows and columns may be exchanged (photographs).
    targets: at least one; a restoration task has the one target "image".
    degradation: of restoration tasks: its name in `medley.physics` and its default parameters.
    """

    name: str
    title: str
    modality: str = ""
    channels: tuple[str, ...]
    range: tuple[float, float]
    unit: str = ""
    scaled: bool = False
    grey: bool = False
    grid: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    framing: Literal["body", "whole"] = "body"
    flips: tuple[int, ...] = ()
    transposes: bool = False
    targets: tuple[Target, ...]
    degradation: Mapping[str, Any] = {}

    @property
    def restores(self) -> bool:
        """Whether this is a restoration task: its target is the input without its degradation."""
        return any(target.kind == "image" for target in self.targets)

    def factor(self, full_scale: float) -> float:
        """The factor from the values of a scan to `range`; 1 where all scans have that range.

        Parameters
        ----------
        full_scale: the value of the scan that corresponds to the upper end of the range.
        """
        return self.range[1] / full_scale if self.scaled or self.grey else 1.0

    @property
    def window(self) -> tuple[float, float]:
        """The values, in `unit`, to which images are clipped before they are scored."""
        return self.target(IMAGE).window or self.range

    @property
    def normalisation(self) -> Normalisation:
        """The normalisation by `range`; for a `scaled` task each scan has its own instead."""
        return Normalisation(*self.range)

    def target(self, name: str) -> Target:
        """The target of that name.

        Raises
        ------
        MedleyError: there is none; the message lists those that exist.
        """
        for target in self.targets:
            if target.name == name:
                return target
        raise MedleyError(f"{self.name} has no target {name!r}; it has {', '.join(t.name for t in self.targets)}")

    def input_channels(self, inputs: tuple[str, ...]) -> tuple[str, ...]:
        """The name of each channel of a network's input.

        Parameters
        ----------
        inputs: "image" for the scan itself, and names of structures targets or regions, whose masks are further
            channels, 0 or 1.

        Raises
        ------
        MedleyError: an input that is none of these.
        """
        masks = {target.name: target.names for target in self.targets if target.kind == "structures"}
        regions = {target.within: (target.within,) for target in self.targets if target.within}
        known = {IMAGE: self.channels, **masks, **regions}
        for name in inputs:
            if name not in known:
                raise MedleyError(f"{self.name} has no input {name!r}; it has {', '.join(known)}")
        return tuple(channel for name in inputs for channel in known[name])

    def only(self, names: tuple[str, ...]) -> Task:
        """The same task with some of its targets, in the order of `names`."""
        return self.model_copy(update={"targets": tuple(self.target(name) for name in names)})


def restoration_task(
    name: str,
    title: str,
    modality: str,
    unit: str,
    *,
    range: tuple[float, float],
    window: tuple[float, float],
    degradation: dict[str, Any],
    scaled: bool = False,
) -> Task:
    """A restoration task of scans with a unit; `window` is where it is scored. The parameters are those of `Task`."""
    image = Target(name=IMAGE, kind="image", unit=unit, window=window)
    return Task(
        name=name,
        title=title,
        modality=modality,
        channels=(modality,),
        unit=unit,
        range=range,
        scaled=scaled,
        targets=(image,),
        degradation=degradation,
    )


def _grey(name: str, title: str, modality: str, degradation: dict[str, Any]) -> Task:
    levels = (0, 255)
    task = restoration_task(name, title, modality, "grey levels", range=levels, window=levels, degradation=degradation)
    return task.model_copy(update={"grey": True})


_TASKS = (
    restoration_task(
        "mr-sr",
        "MR super-resolution",
        "MR",
        "a.u.",
        range=(0, 4095),
        window=(0, 4095),
        scaled=True,
        degradation={"name": "mr-truncation", "keep": 0.25},
    ),
    restoration_task(
        "ct-denoise",
        "CT denoising",
        "CT",
        "HU",
        range=(-1024, 3071),
        window=(-160, 240),
        degradation={"name": "ct-low-dose", "dose": 0.25},
    ),
    restoration_task(
        "pet-denoise",
        "PET from low counts",
        "PT",
        "SUV",
        range=(0, 20),
        window=(0, 20),
        degradation={"name": "pet-low-count", "reduction": 10},
    ),
    _grey("xray-denoise", "X-ray denoising", "DX", {"name": "xray-low-dose", "photons": 30}),
    _grey("us-denoise", "Ultrasound denoising", "US", {"name": "us-speckle", "std": 0.2}),
    _grey("oct-denoise", "OCT denoising", "OPT", {"name": "oct-speckle"}),
    _grey("path-sr", "Pathology super-resolution", "SM", {"name": "path-low-resolution", "factor": 4}),
)
TASKS: Registry[Task] = Registry(
    "task", "a Task", lambda entry: isinstance(entry, Task), {task.name: task for task in _TASKS}
)

# The tasks of the TAT and AMIR papers: what recipes and packaged networks mean where they name no tasks.
VOLUME_TASKS = ("mr-sr", "ct-denoise", "pet-denoise")

# Modalities of DICOM that count as another one: computed radiography; OCT of other organs than the eye.
_SAME = {"CR": "DX", "OCT": "OPT"}


def modality_of(code: str) -> str:
    """The modality of a task that a DICOM modality counts as: CR is DX, OCT is OPT, any other is itself."""
    return _SAME.get(code, code)


def task_named(name: str) -> Task:
    """The restoration task of that name.

    Raises
    ------
    MedleyError: there is none; the message lists those that exist.
    """
    return TASKS.named(name)


def task_for_modality(modality: str) -> Task | None:
    """The restoration task for scans of a DICOM modality; None if there is none."""
    return next((task for task in TASKS.values() if task.modality == modality_of(modality)), None)
