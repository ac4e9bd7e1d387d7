"""Degradations draw parameters, then apply them; drawn parameters can be stored and applied again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch

from medley.errors import MedleyError
from medley.physics.parameters import Limits, Parameter, check_value
from medley.runtime.text import did_you_mean
from medley.tasks import modality_of
from medley.volume import Slices, Volume

Image = TypeVar("Image", Volume, np.ndarray)
Spacing = tuple[float, float]
# What is done with slices (N, rows, columns): the index of the first one in its scan, the parameters, the spacing.
Work = Callable[[torch.Tensor, int, Mapping[str, Any], Spacing], torch.Tensor]


_SEED = Limits(None, 0, closed=True, whole=True)
_SHARE = Limits(0.0, 0, 1, closed=True)


class Degradation(ABC):
    """A simulated loss of image quality, with its parameters.

    A number may be given as a range [low, high] and a name as a list of names; `draw` then draws one value for each
    scan, as `Limits` and `Names` describe. The result of `draw` is plain JSON and complete, including the random seed
    of the noise, so that `apply` can be repeated. The noise of slice k depends only on (seed, k). With the same
    processor and versions, results are bit-identical whether a scan is in memory or streamed, and for every number of
    slices at a time.

    Where no quality is lost (`none`), `apply` and `reference` give the same values.

    Attributes
    ----------
    limits: the parameters of this kind of degradation.
    none: the parameters of no degradation.
    strength_name: what `strength` returns. strength_of_none: what it returns without degradation.
    strength_parameter: the parameter that `strength` returns, unless a subclass computes it.
    clean: the share of scans that are not degraded; these are drawn with the parameters `none`. 0 by default.
    defaults: the share of scans that are degraded with the default parameters, which are those of the papers, whatever
        ranges are given. 0 by default.
    """

    name: ClassVar[str]
    modality: ClassVar[str]  # as in DICOM
    limits: ClassVar[Mapping[str, Parameter]]
    none: ClassVar[Mapping[str, Any]]
    strength_name: ClassVar[str]
    strength_parameter: ClassVar[str]
    strength_of_none: ClassVar[float] = 1.0
    _pixels_at_once: ClassVar[int] = 1 << 20  # limits the memory; the result does not depend on it

    def __init__(self, *, clean: float = 0.0, defaults: float = 0.0, **parameters: Any) -> None:
        unknown = [name for name in parameters if name not in self.limits]
        if unknown:
            known = [*self.limits, "clean", "defaults"]
            hint = did_you_mean(unknown[0], known)
            raise MedleyError(f"{self.name} has no parameter {unknown[0]!r}; it has {', '.join(known)}{hint}")
        for name, share in (("clean", clean), ("defaults", defaults)):
            check_value(_SHARE, f"{name} of {self.name}", share)
        if clean + defaults > 1:
            raise MedleyError(f"clean and defaults of {self.name} are {clean:g} and {defaults:g}, more than 1 together")
        self.clean, self.defaults = clean, defaults
        self.parameters = {name: parameters.get(name, limits.default) for name, limits in self.limits.items()}
        for name, value in self.parameters.items():
            self.limits[name].check(f"{name} of {self.name}", value)
        self._check_together(self.parameters)

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Parameters for one scan, as plain JSON values, including the random seed of the noise."""
        drawn: dict[str, Any] = {"seed": int(rng.integers(2**32))}
        drawn |= {name: self.limits[name].draw(value, rng) for name, value in self.parameters.items()}
        kind = rng.random() if self.clean or self.defaults else 1.0
        if kind < self.clean:
            drawn |= self.none
        elif kind < self.clean + self.defaults:
            drawn |= type(self)().parameters
        implied = {name: limits.default for name, limits in self.limits.items() if limits.implied}
        return {name: value for name, value in drawn.items() if name not in implied or value != implied[name]}

    @classmethod
    def strength(cls, parameters: Mapping[str, Any]) -> float:
        """The strength of drawn parameters as one number, `strength_name`; `strength_of_none` without degradation.

        Raises
        ------
        MedleyError: invalid parameters.
        """
        return float(cls.complete(parameters)[cls.strength_parameter])

    def apply(
        self,
        image: Image,
        parameters: Mapping[str, Any],
        spacing: Sequence[float] | None = None,
        *,
        first_slice: int = 0,
    ) -> Image:
        """The degraded image.

        Parameters
        ----------
        image: a Volume (a streamed one stays streamed), or an array (slice, row, column) or (row, column), float32, in
            the unit of the modality.
        parameters: as `draw` returned them.
        spacing: (row_mm, column_mm) or (slice_mm, row_mm, column_mm) of an array; not needed for a Volume.
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
        self,
        image: Image,
        parameters: Mapping[str, Any],
        spacing: Sequence[float] | None = None,
        *,
        first_slice: int = 0,
    ) -> Image:
        """The target that belongs to the result of `apply` with the same arguments; the image itself for most kinds."""
        work = self._reference_work(parameters)
        return image if work is None else self._run(work, image, parameters, spacing, first_slice)

    def _reference_work(self, parameters: Mapping[str, Any]) -> Work | None:
        """What gives the target; None: it is the image itself."""
        return None

    @abstractmethod
    def _degrade(
        self, slices: torch.Tensor, first: int, parameters: Mapping[str, Any], spacing: Spacing
    ) -> torch.Tensor:
        """(N, rows, columns) float32 -> degraded, same shape; `first` is the index of the first slice in its scan."""

    def _measure(self, slices: Iterable[np.ndarray], parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters, with those added that are measured in the scan before its first slice is degraded."""
        return parameters

    def _combine(
        self, slices: Iterator[np.ndarray], parameters: Mapping[str, Any], slice_mm: float | None
    ) -> Iterator[np.ndarray]:
        """The last step, across slices, for slices `slice_mm` apart (None: unknown): here nothing is done."""
        return slices

    def _run(
        self,
        work: Work,
        image: Image,
        parameters: Mapping[str, Any],
        spacing: Sequence[float] | None,
        first: int,
    ) -> Image:
        parameters = self.complete(parameters)
        if isinstance(image, Volume):
            return self._run_volume(work, image, parameters)
        if spacing is None:
            raise TypeError("an array needs its spacing (row_mm, column_mm)")
        if image.ndim not in (2, 3):
            raise ValueError(
                f"an image is (row, column) or (slice, row, column), but this array has shape {image.shape}"
            )
        stack = image if image.ndim == 3 else image[None]
        slices = self._slices(work, stack, stack.shape, first, parameters, spacing)
        return np.stack(list(slices)).reshape(image.shape) if stack.size else image

    def _run_volume(self, work: Work, volume: Volume, parameters: Mapping[str, Any]) -> Volume:
        if modality_of(volume.modality) not in ("", self.modality):
            raise MedleyError(f"{self.name} is for {self.modality} scans, but this one is {volume.modality}")

        def make() -> Iterator[np.ndarray]:
            return self._slices(work, volume.data, volume.shape, 0, parameters, volume.spacing)

        slices = Slices(volume.shape, make)
        return volume.with_data(slices if isinstance(volume.data, Slices) else np.asarray(slices))

    def _slices(
        self,
        work: Work,
        data: np.ndarray | Slices,
        shape: tuple[int, ...],
        first: int,
        parameters: Mapping[str, Any],
        spacing: Sequence[float],
    ) -> Iterator[np.ndarray]:
        *between, row_mm, column_mm = spacing
        parameters = self._measure(data, parameters)
        pieces = self._pieces(work, iter(data), shape, first, parameters, (row_mm, column_mm))
        return self._combine(pieces, parameters, between[0] if between else None)

    def _pieces(
        self,
        work: Work,
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

    @classmethod
    def complete(cls, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Recorded parameters, with defaults for those that a record may lack, in the order of `limits`.

        Raises
        ------
        MedleyError: invalid parameters.
        """
        completed: dict[str, Any] = {}
        for name, limits in {"seed": _SEED, **cls.limits}.items():
            if name not in parameters and not limits.implied:
                raise MedleyError(f"the parameters of {cls.name} lack {name!r}; take them from draw()")
            completed[name] = parameters.get(name, limits.default)
            check_value(limits, f"{name} of {cls.name}", completed[name])
        cls._check_together(completed)
        return completed

    @classmethod  # noqa: B027
    def _check_together(cls, parameters: Mapping[str, Any]) -> None:
        """Raise a MedleyError if parameters cannot be combined."""


def noise_generator(parameters: Mapping[str, Any], slice_number: int) -> np.random.Generator:
    """The random generator for one slice; depends only on the seed and the slice's index in its scan."""
    return np.random.default_rng([cast(int, parameters["seed"]), slice_number])
