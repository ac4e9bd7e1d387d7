"""Degradations draw parameters, then apply them; drawn parameters can be stored and applied again."""

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
    """The default and the valid values of a parameter: low < value <= high; with `closed` also low itself.

    `optional` parameters may be None; `whole` ones must be integers.
    """

    default: float | None
    low: float
    high: float = math.inf
    closed: bool = False
    whole: bool = False
    optional: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a value is valid."""
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
    """A simulated loss of image quality, with its parameters.

    A number may be given as a pair (low, high); then `draw` draws it uniformly on a logarithmic scale. The result of
    `draw` is plain JSON and complete, including the random seed of the noise, so that `apply` can be repeated. The
    noise of slice k depends only on (seed, k). With the same processor and versions, results are bit-identical whether
    a scan is in memory or streamed, and for every number of slices at a time.
    """

    name: ClassVar[str]
    modality: ClassVar[str]  # as in DICOM
    limits: ClassVar[Mapping[str, Limits]]
    _pixels_at_once: ClassVar[int] = 1 << 20  # limits the memory; the result does not depend on it

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
        """Parameters for one scan, as plain JSON values, including the random seed of the noise.

        Numbers that were given as a pair are drawn from that range, uniformly on a logarithmic scale.
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
        """The degraded image.

        Parameters
        ----------
        image: a Volume (a streamed one stays streamed), or an array (slice, row, column) or (row, column), float32, in
            the unit of the modality.
        parameters: as `draw` returned them.
        spacing: (row_mm, column_mm) of an array; not needed for a Volume.
        first_slice: index of the array's first slice in its scan, if a scan is processed in pieces.

        Returns
        -------
        The same type as `image`, with the same shape, geometry and unit.

        Raises
        ------
        MedleyError: a scan of another modality, values that are not finite, or invalid parameters.
        """
        return self._run(self._degrade, image, parameters, spacing, first_slice)

    def reference(
        self, image: Image, parameters: Mapping[str, Any], spacing: Spacing | None = None, *, first_slice: int = 0
    ) -> Image:
        """The target that belongs to the result of `apply` with the same arguments: here the image itself."""
        return image

    @abstractmethod
    def _degrade(
        self, slices: torch.Tensor, first: int, parameters: Mapping[str, Any], spacing: Spacing
    ) -> torch.Tensor:
        """(N, rows, columns) float32 -> degraded, same shape; `first` is the index of the first slice in its scan."""

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
        """The processed slices in order, with a limited number of them in memory."""
        at_once = max(1, self._pixels_at_once // (shape[1] * shape[2]))
        while batch := list(islice(slices, at_once)):
            stack = torch.from_numpy(np.stack(batch).astype(np.float32))
            if not torch.isfinite(stack).all():
                raise MedleyError(f"slices {first} to {first + len(batch) - 1} have values that are not finite")
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
        """Raise a MedleyError if parameters cannot be combined."""


def noise_generator(parameters: Mapping[str, Any], slice_number: int) -> np.random.Generator:
    """The random generator for one slice; depends only on the seed and the slice's index in its scan."""
    return np.random.default_rng([cast(int, parameters["seed"]), slice_number])
