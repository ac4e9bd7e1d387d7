"""Methods that can be evaluated: the unchanged input, tuned classical methods, networks. One protocol for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from medley.normalisation import Normalisation
from medley.scoring.classical import Tuned
from medley.slabs import Slabs
from medley.tasks import TASKS

if TYPE_CHECKING:
    from medley.inference.restorer import Restorer


class Method(Protocol):
    """Something that restores slices.

    Attributes
    ----------
    name: as shown in tables. tasks: the names of the tasks that it supports.
    reach: the number of neighbours that it uses on each side of a slice.
    """

    @property
    def reach(self) -> int:  # noqa: D102
        ...

    @property
    def name(self) -> str:  # noqa: D102
        ...

    @property
    def tasks(self) -> tuple[str, ...]:  # noqa: D102
        ...

    def restore(self, slabs: Slabs, task: str, normalisation: Normalisation) -> np.ndarray:
        """The restored slices of slabs: (n, row, column) float32 in the unit of the task; each slice separately."""
        ...

    def settings(self, task: str) -> str:
        """Details for a results table, such as tuned parameters; may be empty."""
        ...


class Input:
    """The unchanged degraded scan, the reference for every method."""

    name = "input"
    reach = 0

    @property
    def tasks(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(TASKS)

    def restore(self, slabs: Slabs, task: str, normalisation: Normalisation) -> np.ndarray:
        """The slices themselves."""
        return slabs.centre

    def settings(self, task: str) -> str:
        """Nothing."""
        return ""


class ClassicalMethod:
    """One classical method with the parameters tuned for each task."""

    reach = 0

    def __init__(self, tuned: Sequence[Tuned]) -> None:
        (self.name,) = {one.name for one in tuned}
        self._tuned = {one.task: one for one in tuned}
        self.tasks = tuple(self._tuned)

    def restore(self, slabs: Slabs, task: str, normalisation: Normalisation) -> np.ndarray:
        """The method with the parameters of that task."""
        return self._tuned[task].restore(slabs.centre, normalisation)

    def settings(self, task: str) -> str:
        """The parameters as JSON."""
        return self._tuned[task].describe()


class Network:
    """A network with its weights, as returned by `medley.load`."""

    def __init__(self, restorer: Restorer) -> None:
        self._restorer = restorer
        self.name = restorer.description.name
        self.tasks = tuple(restorer.description.tasks)
        self.reach = restorer.reach

    def restore(self, slabs: Slabs, task: str, normalisation: Normalisation) -> np.ndarray:
        """The output of the network at full strength."""
        return self._restorer.restore_slabs(slabs, task, normalisation)

    def settings(self, task: str) -> str:
        """The version of medley that trained it."""
        return f"version {self._restorer.description.version}"
