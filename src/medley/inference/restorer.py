"""Applies a trained restoration network to scans (Volume to Volume), in the memory of a few slices."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Literal, Unpack

import numpy as np
import torch

from medley.errors import MedleyError, MedleyNotice
from medley.inference._source import measured_lines, notify_if_processed, on_finer_grid, refuse_implausible
from medley.inference.conditions import conditions
from medley.inference.plan import RestorationPlan, RestoreOptions
from medley.inference.strength import AUTO, match_noise, wanted_noise
from medley.inference.training_scans import RestorableScans
from medley.inference.windows import blend_windows
from medley.models import weights
from medley.models.precision import in_precision
from medley.models.weights import Description
from medley.normalisation import Normalisation, full_grey
from medley.physics import mr
from medley.runtime.memory import free_memory
from medley.runtime.prefetch import made_ahead
from medley.slabs import UNKNOWN, Slabs, slabs_of, stream_slabs
from medley.targets import IMAGE
from medley.tasks import TASKS, Task, modality_of, task_named
from medley.volume import Slices, Volume

PIXELS_AT_ONCE = 2**18  # a batch holds at most this many pixels, one slice of 512 x 512: more is not faster on a CPU
LARGEST_SLICE = 1024**2  # pixels; larger slices go through the network in windows
SMALLEST_SIDE = 16  # pixels; smaller slices are padded
WINDOWS = (512, 256, 128)  # pixels, sides of windows; smaller ones only if memory is short and it is allowed
# Numbers in memory for each pixel at the peak, divided by the width of the first level: measured, 34 to 52.
_NUMBERS_PER_WIDTH = 50
_WIDTH = 48  # if the configuration of the network has none

Tap = Callable[[int, np.ndarray, np.ndarray], None]  # (slice number, before, after), both (row, column)


class Restorer:
    """A network with its weights and its description, ready to restore scans. Created by `medley.load`.

    Attributes
    ----------
    description: that in the weights file.
    sha256: of the weights file; "" for a network that was not loaded from a file.
    reach: the number of neighbours that the network uses on each side of a slice.
    precision: "float32" or "bfloat16", of the network. Scans are always float32.

    The number of slices in a batch follows from the memory that is free when the restorer is created. The result does
    not depend on it, except with `allow_windows`.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        description: Description,
        device: str | torch.device = "cpu",
        sha256: str = "",
        precision: str = "float32",
    ) -> None:
        self.description = description
        self.sha256 = sha256
        self.precision = precision
        self._device = torch.device(device)
        self._model = in_precision(model, precision).to(self._device).eval()
        self._room = _pixels_that_fit(self._model, precision, self._device)
        config = getattr(model, "config", {})
        self.reach: int = config.get("reach", 0)
        # Networks of slabs have a second input, in which the tasks have this order.
        self._order: tuple[str, ...] = tuple(config["tasks"]) if "reach" in config else ()
        self._scans = RestorableScans(description)

    def __repr__(self) -> str:
        return (
            f"Restorer({self.description.name!r}, tasks={list(self.description.tasks)}, "
            f"precision={self.precision!r}, device={str(self._device)!r})"
        )

    @property
    def reads_conditions(self) -> bool:
        """Whether the network reads slabs, the noise and other data of a slice, and values above the range."""
        return bool(self._order)

    def restore(self, volume: Volume, **options: Unpack[RestoreOptions]) -> Volume:
        """The restored scan, in memory: same geometry (a finer grid when `scale` > 1), same modality and unit.

        Parameters
        ----------
        volume: values in the unit of the task: HU, SUV, or the scanner's own for MR.
        options: see `RestoreOptions`.

        Raises
        ------
        MedleyError: the scan does not fit the task, the network was not trained for it, or its output is not finite.
        """
        return self.stream(volume, **options).load()

    def stream(self, volume: Volume, **options: Unpack[RestoreOptions]) -> Volume:
        """As `restore`, with slices computed on demand: memory does not grow with their number.

        A scan that is unlike the training scans is restored with a `MedleyNotice`.
        """
        plan = self.plan(volume, **options)
        if plan.likeness is not None and not plan.likeness.alike:
            warnings.warn(plan.likeness.sentence(self.description.name), MedleyNotice, stacklevel=3)
        return self.carry_out(plan)

    def plan(
        self,
        volume: Volume,
        *,
        task: str = "auto",
        strength: float | Literal["auto"] = 1.0,
        target_noise: float | None = None,
        scale: int = 1,
        keep_measured: bool = False,
        measured: tuple[int, int] | None = None,
        noise: float | None = None,
        allow_windows: bool = False,
    ) -> RestorationPlan:
        """Check the scan and the options (as in `restore`) and choose the task and the normalisation.

        Reads the scan once where its values matter: for MR, where the file does not say its modality, and to compare it
        with the training scans; once more where the strength follows from the noise, and restores some slices.
        """
        chosen = self._choose_task(volume, task)
        if strength != AUTO and not (isinstance(strength, int | float) and 0 <= strength <= 1):
            raise MedleyError(f'strength must lie between 0 and 1, or be "auto", but is {strength}')
        if target_noise is not None and strength not in (AUTO, 1):
            raise MedleyError("give a strength or a target noise, not both")
        if scale not in (1, 2, 4):
            raise MedleyError(f"scale must be 1, 2 or 4, but is {scale}")
        if chosen.modality != "MR" and (scale != 1 or keep_measured or measured):
            raise MedleyError(f"a finer grid and measured k-space are for MR only, but the task is {chosen.name}")
        if noise is not None and not noise > 0:
            raise MedleyError(f"the noise must be above 0, but is {noise:g}")
        if noise is not None and not self.reads_conditions:
            raise MedleyError(f"{self.description.name} does not use the noise of a scan; omit the noise")
        # Files that state no modality or unit have those of the task.
        stated = volume.with_data(volume.data, modality=chosen.modality, unit=chosen.unit)
        before = on_finer_grid(stated, scale)
        normalisation = normalisation_for(before, chosen)
        notify_if_processed(volume)
        lines = measured_lines(volume, measured) if keep_measured or measured else None
        window = self._window(before.shape, allow_windows)
        likeness = self._scans.compare(before, chosen, normalisation.high)
        given = 1.0 if strength == AUTO else float(strength)
        plan = RestorationPlan(before, chosen, normalisation, given, scale, lines, window, noise, likeness)
        if strength != AUTO and target_noise is None:
            return plan
        wanted = wanted_noise(self.description, chosen, target_noise)
        return match_noise(plan, wanted, self.reach, partial(self._restore_fully, plan=plan))

    def carry_out(self, plan: RestorationPlan, taps: Sequence[Tap] = ()) -> Volume:
        """The restored scan of a plan; its slices are computed on demand.

        Each of `taps` is called with every slice before and after, in order. The scan is read in a separate thread, one
        batch ahead of the network.
        """

        def make() -> Iterator[np.ndarray]:
            k, before = 0, plan.before
            size = self._batch(before.shape)
            slabs = stream_slabs(before.data, before.shape[0], size, self.reach, before.spacing)
            for batch in made_ahead(slabs, 1):
                restored = self._restore_batch(batch, plan, k)
                for old, after in zip(batch.centre, restored, strict=True):
                    if not np.isfinite(after).all():
                        raise MedleyError(f"the network's output for slice {k + 1} is not finite; nothing was written")
                    for tap in taps:
                        tap(k, old, after)
                    yield after
                    k += 1

        return plan.before.with_data(Slices(plan.before.shape, make))

    def restore_slices(
        self,
        slices: np.ndarray,
        task: Task | str,
        normalisation: Normalisation,
        window: int | None = None,
        spacing: Sequence[float] = UNKNOWN,
    ) -> np.ndarray:
        """The restored slices of a scan (slice, row, column), see `restore_slabs`.

        Their neighbours are used if the network uses them and the distance of slices is given: `spacing` in mm.
        """
        slabs = slabs_of(np.asarray(slices, np.float32), range(len(slices)), self.reach, spacing)
        return self.restore_slabs(slabs, task, normalisation, window)

    def restore_slabs(
        self,
        slabs: Slabs,
        task: Task | str,
        normalisation: Normalisation,
        window: int | None = None,
        noise: float | None = None,
    ) -> np.ndarray:
        """The restored slices (n, row, column) of slabs, float32 in the unit of the task, any number and size.

        Values below a range that clips are unchanged; above it too, unless the network is trained for compressed values
        (`medley.models.slab`). Without clipping (MR), no new negative values appear. `window` and
        `noise` as in a `RestorationPlan`; by default, slices above LARGEST_SLICE are processed in windows.
        """
        task = task_named(task) if isinstance(task, str) else task
        if task.name not in self.description.tasks:
            raise MedleyError(
                f"{self.description.name} was not trained for {task.name}, only for {_listed(self.description.tasks)}"
            )
        slices = slabs.centre
        if slices.shape[1] * slices.shape[2] > LARGEST_SLICE:
            window = window or WINDOWS[0]
        size = self._batch(slices.shape)
        run = partial(self._compressed, noise=noise) if self.reads_conditions else self._clipped
        parts = [run(slabs[k : k + size], task, normalisation, window) for k in range(0, len(slabs), size)]
        restored = np.concatenate(parts).astype(np.float32)
        if not normalisation.clip:
            return np.maximum(restored, np.minimum(slices, 0))
        outside = slices < normalisation.low
        if not self.reads_conditions:
            outside |= slices > normalisation.high
            restored = np.minimum(restored, normalisation.high)
        return np.where(outside, slices, np.maximum(restored, normalisation.low))

    def _clipped(self, slabs: Slabs, task: Task, normalisation: Normalisation, window: int | None) -> np.ndarray:
        """The output of a network of single slices with values in [0, 1], in the unit of the scan."""
        output = self._through_network(normalisation.apply(slabs.centre)[:, None], window)
        return task.target(IMAGE).decode(output, normalisation=normalisation)

    def _compressed(
        self, slabs: Slabs, task: Task, normalisation: Normalisation, window: int | None, noise: float | None
    ) -> np.ndarray:
        """The output of a network of slabs with compressed values and conditions, in the unit of the scan."""
        images = normalisation.compress(slabs.values)
        scaled = None if noise is None else noise / (normalisation.high - normalisation.low)
        order = self._order
        stated = conditions(slabs, images[:, self.reach], order.index(task.name), len(order), scaled)
        return normalisation.expand(self._through_network(images, window, stated))

    def _restore_batch(self, slabs: Slabs, plan: RestorationPlan, first: int) -> np.ndarray:
        """Slices of a scan, from number `first` on, at the strength of the plan; those of `plan.ready` are used."""
        slices = slabs.centre
        if plan.strength == 0:
            return slices
        left = np.array([k not in plan.ready for k in range(first, first + len(slabs))])
        restored = np.stack([plan.ready.get(k, one) for k, one in enumerate(slices, first)])
        if left.any():
            restored[left] = self._restore_fully(slabs[left], plan)
        return slices + np.float32(plan.strength) * (restored - slices) if plan.strength < 1 else restored

    def _restore_fully(self, slabs: Slabs, plan: RestorationPlan) -> np.ndarray:
        """The slices of slabs at full strength."""
        restored = self.restore_slabs(slabs, plan.task, plan.normalisation, plan.window, plan.noise)
        return restored if plan.measured is None else mr.keep_measured(restored, slabs.centre, plan.measured)

    def _batch(self, shape: tuple[int, ...]) -> int:
        """The number of slices of a scan (slice, row, column) in a batch that needs half the free memory at most."""
        return int(max(1, min(PIXELS_AT_ONCE, self._room // 2) // (shape[1] * shape[2])))

    def _window(self, shape: tuple[int, ...], allowed: bool) -> int | None:
        """None for slices that are processed at once, else the side of the windows.

        Raises
        ------
        MedleyError: the memory is not enough, and smaller windows are not `allowed`.
        """
        rows, columns = shape[1:]
        large = rows * columns > LARGEST_SLICE
        if (WINDOWS[0] ** 2 if large else rows * columns) <= self._room:
            return WINDOWS[0] if large else None
        smaller = next((side for side in WINDOWS if side**2 <= self._room), WINDOWS[-1])
        size = f"{WINDOWS[0]} x {WINDOWS[0]}" if large else f"{rows} x {columns}"
        if not allowed:
            raise MedleyError(
                f"there is not enough memory for {size} pixels at once; free some memory, use the precision bfloat16, "
                f"or allow windows of {smaller} x {smaller} (--allow-windows), which change the result slightly"
            )
        warnings.warn(
            f"there is not enough memory for {size} pixels at once: slices of {rows} x {columns} are restored in "
            f"windows of {smaller} x {smaller}, which changes the result slightly",
            MedleyNotice,
            stacklevel=3,
        )
        return smaller

    def _through_network(self, images: np.ndarray, window: int | None, *stated: np.ndarray) -> np.ndarray:
        """(n, C, row, column) -> (n, row, column); padded, or in windows of a side where one is given.

        `stated`: the conditions (n, K), for networks that use them.
        """
        rows, columns = images.shape[2:]
        pad = [(0, 0), (0, 0), (0, max(0, SMALLEST_SIDE - rows)), (0, max(0, SMALLEST_SIDE - columns))]
        padded = np.pad(images, pad, mode="symmetric")
        if window:
            restored = np.stack([self._in_windows(k, padded, window, stated) for k in range(len(padded))])
        else:
            restored = self._forward(padded, *stated)
        return restored[:, :rows, :columns]

    def _in_windows(self, k: int, images: np.ndarray, window: int, stated: tuple[np.ndarray, ...]) -> np.ndarray:
        one = [each[k : k + 1] for each in stated]
        return blend_windows(images[k], lambda part: self._forward(part[None], *one)[0], window)

    @torch.inference_mode()
    def _forward(self, *inputs: np.ndarray) -> np.ndarray:
        """(n, C, row, column), and conditions if the network uses them -> (n, row, column)."""
        tensors = [torch.from_numpy(np.ascontiguousarray(one, np.float32)).to(self._device) for one in inputs]
        return self._model(*tensors).squeeze(1).float().cpu().numpy()

    def _choose_task(self, volume: Volume, name: str) -> Task:
        found = f"the scan's modality is {volume.modality}" if volume.modality else "the file does not say its modality"
        if name == "auto":
            of_modality = [one for one in TASKS.values() if one.modality == modality_of(volume.modality)]
            trained = (one for one in of_modality if one.name in self.description.tasks)
            task = next(trained, of_modality[0] if of_modality else None)
            if task is None:
                known = ", ".join(f"{task.name} ({task.modality})" for task in TASKS.values())
                hint = "" if volume.modality else "; say which with --task"
                raise MedleyError(f"{found}, so the task is not known; the tasks are {known}{hint}")
        else:
            task = task_named(name)
            if volume.modality and modality_of(volume.modality) != task.modality:
                raise MedleyError(f"{found}, but {task.name} is for {task.modality}")
        if task.name not in self.description.tasks:
            raise MedleyError(
                f"{found} and the task {task.name}, but {self.description.name} was trained only for "
                f"{_listed(self.description.tasks)}{_trained_for(task)}"
            )
        if volume.unit != task.unit and (volume.unit or volume.modality == "PT"):
            raise MedleyError(
                f"{task.name} needs values in {task.unit}, but these are in {volume.unit or 'no known unit'}"
            )
        if not volume.modality:
            refuse_implausible(volume, task)
        return task


def normalisation_for(volume: Volume, task: Task | str) -> Normalisation:
    """The linear map from the values of this scan to [0, 1].

    The range of the task; for a `grey` task 0 to 2^bits - 1, of as many bits as the values need, at least 8; for a
    `scaled` task (MR) 0 to the 99.9th percentile of the scan, exact, in one pass. That
    pass keeps the largest 0.1 % of the values: a kilobyte for a slice of 512 x 512.

    Raises
    ------
    MedleyError: the percentile is not positive: the scan is empty.
    """
    task = task_named(task) if isinstance(task, str) else task
    if task.grey:
        return Normalisation(0.0, full_grey(max(float(np.max(one)) for one in volume.data)))
    if not task.scaled:
        return task.normalisation
    high = _percentile(volume, 99.9)
    if not high > 0:
        raise MedleyError(
            f"99.9 % of the scan's values are {high:g} or less, but {task.name} needs an image above zero"
        )
    return Normalisation(0.0, high, clip=False)


def _percentile(volume: Volume, q: float) -> float:
    """numpy.percentile(volume, q), linear between neighbours, of a stream: only values above it are kept in memory."""
    position = (np.prod(volume.shape) - 1) * q / 100
    below = int(position)
    count = int(np.prod(volume.shape)) - below  # the values from rank `below` up
    largest = np.empty(0, np.float32)
    for one in volume.data:
        largest = np.concatenate([largest, np.ravel(one)])
        if largest.size > count:
            largest = np.partition(largest, -count)[-count:]
    low, *rest = np.partition(largest, [0, 1] if count > 1 else 0)[:2].astype(np.float64)
    return float(low + (position - below) * (rest[0] - low) if rest else low)


def _pixels_that_fit(model: torch.nn.Module, precision: str, device: torch.device) -> float:
    """About how many pixels a network can process in one pass with the memory that is free now; inf if unknown."""
    free: int | None = None
    if device.type == "cpu":
        free = free_memory()
    elif device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + kept
    width = getattr(model, "config", {}).get("dim", _WIDTH)
    return float("inf") if free is None else free / (_NUMBERS_PER_WIDTH * width * (4 if precision == "float32" else 2))


def _trained_for(task: Task) -> str:
    """For a message: the packaged networks that were trained for a task."""
    names = [name for name, path in weights.packaged().items() if task.name in weights.describe(path).tasks]
    return f"; choose a network that was trained for it: {_listed(names)}" if names else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
