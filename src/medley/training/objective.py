"""The interface between the training loop and a training objective: network, batches, losses and validation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import nn

from medley.data.batch import Batch, collate
from medley.data.readers import Reader
from medley.data.record import Record
from medley.data.sampling import Sampler
from medley.data.store import Store
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

    def batch(self, step: int) -> Batch:
        """The batch of a step; it depends only on the random seed and the number of the step."""
        return collate([self._reader(draw) for draw in self._sampler.draw(step)])

    @abstractmethod
    def records(self) -> list[Record]:
        """All records that are used for training and validation."""

    @abstractmethod
    def create_network(self) -> nn.Module:
        """A network with initial weights; its attribute `config` holds all its arguments."""

    @abstractmethod
    def losses(self, network: nn.Module, batch: Batch) -> Losses:
        """One forward pass: a scalar for each task that has labels in the batch."""

    @abstractmethod
    def validate(self, network: nn.Module) -> list[ScoreRow]:
        """Scores on the validation subjects; [] if there are none. The mode of the network may change."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Fields of the description in the weights file; the loop adds more to "training"."""
