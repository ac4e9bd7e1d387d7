"""The interface between the training loop and what is trained: network, batches, losses and validation."""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn

from medley.data.batch import Batch
from medley.training.balance import Losses


class Objective(Protocol):
    """A training objective: restoration or prediction.

    Attributes
    ----------
    tasks: names of the losses. continuous: those of continuous targets.
    auxiliary: modules that are trained together with the network. validate_every: steps between two validations.
    """

    tasks: tuple[str, ...]
    continuous: frozenset[str]
    auxiliary: nn.ModuleDict
    validate_every: int

    def create_network(self) -> nn.Module:
        """A network with initial weights; its attribute `config` holds all its arguments."""
        ...

    def batch(self, step: int) -> Batch:
        """The batch of a step; it depends only on the random seed and the number of the step."""
        ...

    def losses(self, network: nn.Module, batch: Batch) -> Losses:
        """One forward pass: a scalar for each task that has labels in the batch."""
        ...

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Scores on the validation subjects by "task score"; the mode of the network may change."""
        ...

    def description(self, scores: dict[str, float]) -> dict[str, Any]:
        """Fields of the description in the weights file; the loop adds more to "training"."""
        ...
