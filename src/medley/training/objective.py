"""The interface between the training loop and a training objective: network, batches, losses and validation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from torch import Tensor, nn

from medley.data.batch import Batch, collate
from medley.data.readers import Reader
from medley.data.record import Record
from medley.data.sampling import Sampler
from medley.data.store import Store
from medley.errors import MedleyError
from medley.scoring.rows import ScoreRow
from medley.training.balance import Losses


class Objective(ABC):
    """A training objective: restoration or prediction.

    Attributes
    ----------
    store: the prepared data. tasks: names of the losses. continuous: those of continuous targets.
    auxiliary: modules that are trained together with the network. validate_every: steps between two validations.
    """

    store: Store
    tasks: tuple[str, ...]
    continuous: frozenset[str]
    auxiliary: nn.ModuleDict
    validate_every: int
    _sampler: Sampler
    _reader: Reader

    def batch(self, step: int, *, rank: int = 0, ranks: int = 1) -> Batch:
        """The batch of a step; it depends only on the random seed and the number of the step.

        Parameters
        ----------
        rank, ranks: of this process, and the number of processes that train together: its part of the samples is every
            `ranks`-th one.

        Raises
        ------
        MedleyError: the samples cannot be divided evenly among the processes.
        """
        draws = self._sampler.draw(step)
        if len(draws) % ranks:
            raise MedleyError(
                f"the {len(draws)} samples of a step cannot be divided evenly among {ranks} processes; use a multiple"
            )
        return collate([self._reader(draw) for draw in draws[rank::ranks]])

    @abstractmethod
    def records(self) -> list[Record]:
        """All records that are used for training and validation."""

    @abstractmethod
    def create_network(self) -> nn.Module:
        """A network with initial weights; its attribute `config` holds all its arguments."""

    @abstractmethod
    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """What the losses of a batch are divided by, such as the number of labels: {task: float64 tensor}.

        Summed over all parts of a step they are those of the step. All 0 for a task without labels.
        """

    @abstractmethod
    def losses(self, network: nn.Module, batch: Batch, counts: dict[str, Tensor] | None = None) -> Losses:
        """One forward pass: a scalar for each task that has labels in the step.

        Parameters
        ----------
        batch: a step or a part of it; the losses of all parts sum to those of the step.
        counts: of the whole step. None: the batch is the step.
        """

    @abstractmethod
    def validate(self, network: nn.Module) -> list[ScoreRow]:
        """Scores on the validation subjects; [] if there are none. The mode of the network may change."""

    @abstractmethod
    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Input, output and target of a slice of a validation record, side by side: {name: (row, column) in [0, 1]}.

        The mode of the network may change.
        """

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Fields of the description in the weights file; the loop adds more to "training"."""
