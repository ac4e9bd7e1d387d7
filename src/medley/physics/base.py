"""Degradation: draws its parameters, then applies them; what was drawn can be written down and applied again."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch

from medley.errors import MedleyError
from medley.runtime.text import did_you_mean
from medley.volume import Slices, Volume

Image = TypeVar("Image", Volume, np.ndarray)
Spacing = tuple[float, float]
_Work = Callable[[torch.Tensor, int, Mapping[str, Any], Spacing], torch.Tensor]


@dataclass(frozen=True)
class Limits:
    """A parameter's default and the values it may have, low < value <= high; low itself only if `closed`.

    `optional` parameters may be None.
    """

    default: float | None
    low: float
    high: float = math.inf
    closed: bool = False
    whole: bool = False
    optional: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a parameter may have this value."""
        if value is None:
            return self.optional
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if self.whole and not isinstance(value, int):
            return False
        return (self.low <= value if self.closed else self.low < value) and value <= self.high

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = f"{'from' if self.closed else 'above'} {self.low:g}"
        high = f" to {self.high:g}" if math.isfinite(self.high) else " upwards" if self.closed else ""
        return f"{kind} {low}{high}"


_SEED = Limits(None, 0, closed=True, whole=True)


class Degradation(ABC):
    """What turns a good scan into a bad one, with all its parameters.

    Every number may be given as a pair (low, high): then `draw` draws it, evenly on a logarithmic scale. What `draw`
    returns is plain JSON and holds everything, the seed of the noise included, so that `apply` does the same wherever
    and whenever it is called. The noise of slice k depends on (seed, k) alone: it is the same whether a scan is in
    memory or streamed, and however many slices go through at once.
    """

    name: ClassVar[str]
    modality: ClassVar[str]  # DICOM's word
    limits: ClassVar[Mapping[str, Limits]]
    _pixels_at_once: ClassVar[int] = 1 << 20  # bounds the memory; the result does not depend on it

    def __init__(self, **parameters: Any) -> None:
        unknown = [name for name in parameters if name not in self.limits]
        if unknown:
            known = f"{', '.join(self.limits)}{did_you_mean(unknown[0], self.limits)}"
            raise MedleyError(f"{self.name} has no parameter {unknown[0]!r}; it has {known}")
        self.parameters = {name: parameters.get(name, limits.default) for name, limits in self.limits.items()}
        for name, value in self.parameters.items():
            if isinstance(value, list | tuple):
                self._check_range(name, value)
            else:
                self._check(name, value, self.limits[name])
        self._check_together(self.parameters)

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Parameters for one scan: plain JSON values, the seed of the noise among them.

        Numbers given as a pair are drawn from it, evenly on a logarithmic scale.
        """
        drawn: dict[str, Any] = {"seed": int(rng.integers(2**32))}
        for name, value in self.parameters.items():
            if isinstance(value, list | tuple):
                value = float(np.clip(np.exp(rng.uniform(*np.log(value))), *value))
                value = round(value) if self.limits[name].whole else value
            drawn[name] = value
        return drawn

    def apply(
        self, image: Image, parameters: Mapping[str, Any], spacing: Spacing | None = None, *, first_slice: int = 0
    ) -> Image:
        """The bad image.

        Parameters
        ----------
        image: a Volume (it stays streamed if it is), or an array (slice, row, column) or (row, column), float32, in the
            unit of the modality.
        parameters: as `draw` returned them.
        spacing: (row_mm, column_mm) of an array; a Volume has its own.
        first_slice: the number of the array's first slice in its scan, when a scan is worked on piece by piece.

        Returns
        -------
        The same kind as `image`, with the same shape, place and unit.

        Raises
        ------
        MedleyError: a scan of another modality, values that are not finite, or parameters out of range.
        """
        return self._run(self._degrade, image, parameters, spacing, first_slice)

    def reference(
        self, image: Image, parameters: Mapping[str, Any], spacing: Spacing | None = None, *, first_slice: int = 0
    ) -> Image:
        """The good partner of what `apply` gives for the same arguments: here the image itself."""
        return image

    @abstractmethod
    def _degrade(
        self, slices: torch.Tensor, first: int, parameters: Mapping[str, Any], spacing: Spacing
    ) -> torch.Tensor:
        """(N, rows, columns) float32 -> the same, degraded; `first` is the number of the first of them in its scan."""

    def _run(
        self, work: _Work, image: Image, parameters: Mapping[str, Any], spacing: Spacing | None, first: int
    ) -> Image:
        self._check_drawn(parameters)
        if isinstance(image, Volume):
            return self._run_volume(work, image, parameters)
        if spacing is None:
            raise TypeError("an array needs its spacing (row_mm, column_mm)")
        if image.ndim not in (2, 3):
            raise ValueError(
                f"an image is (row, column) or (slice, row, column), but this array has shape {image.shape}"
            )
        stack = image if image.ndim == 3 else image[None]
        pieces = self._pieces(work, iter(stack), stack.shape, first, parameters, spacing)
        return np.stack(list(pieces)).reshape(image.shape) if stack.size else image

    def _run_volume(self, work: _Work, volume: Volume, parameters: Mapping[str, Any]) -> Volume:
        if volume.modality not in ("", self.modality):
            raise MedleyError(f"{self.name} is for {self.modality} scans, but this one is {volume.modality}")
        spacing = volume.spacing[1:]

        def make() -> Iterator[np.ndarray]:
            return self._pieces(work, iter(volume.data), volume.shape, 0, parameters, spacing)

        slices = Slices(volume.shape, make)
        return volume.with_data(slices if isinstance(volume.data, Slices) else np.asarray(slices))

    def _pieces(
        self,
        work: _Work,
        slices: Iterator[np.ndarray],
        shape: tuple[int, ...],
        first: int,
        parameters: Mapping[str, Any],
        spacing: Spacing,
    ) -> Iterator[np.ndarray]:
        """The slices worked on one after the other, a bounded number of them in memory."""
        at_once = max(1, self._pixels_at_once // (shape[1] * shape[2]))
        while batch := list(islice(slices, at_once)):
            stack = torch.from_numpy(np.stack(batch).astype(np.float32))
            if not torch.isfinite(stack).all():
                raise MedleyError(f"slices {first} to {first + len(batch) - 1} hold values that are not finite numbers")
            with torch.no_grad():
                yield from work(stack, first, parameters, spacing).numpy()
            first += len(batch)

    def _check_drawn(self, parameters: Mapping[str, Any]) -> None:
        for name, limits in {"seed": _SEED, **self.limits}.items():
            if name not in parameters:
                raise MedleyError(f"the parameters of {self.name} lack {name!r}; take them from draw()")
            self._check(name, parameters[name], limits)
        self._check_together(parameters)

    def _check_range(self, name: str, ends: Sequence[Any]) -> None:
        for end in ends:
            self._check(name, end, self.limits[name])
        if len(ends) != 2 or None in ends or not 0 < ends[0] <= ends[1]:
            raise MedleyError(f"{name} of {self.name} is {ends}, but a range is (low, high) with 0 < low <= high")

    def _check(self, name: str, value: Any, limits: Limits) -> None:
        if not limits.holds(value):
            raise MedleyError(f"{name} of {self.name} is {value!r}, but it must be {limits}")

    def _check_together(self, parameters: Mapping[str, Any]) -> None:  # noqa: B027
        """Raise a MedleyError where parameters do not go together; most do."""


def noise_generator(parameters: Mapping[str, Any], slice_number: int) -> np.random.Generator:
    """The source of the noise of one slice; depends on the seed and the slice's number in its scan alone."""
    return np.random.default_rng([cast(int, parameters["seed"]), slice_number])
