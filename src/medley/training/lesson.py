"""What the loop asks of whatever is learnt: a network, batches, losses, and how good it is so far."""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn

from medley.data.batch import Batch
from medley.training.balance import Losses


class Lesson(Protocol):
    """Restoration or prediction.

    Attributes
    ----------
    tasks: names of the losses. continuous: those whose answer is a continuous value.
    helpers: modules besides the network that are trained with it. validate_every: steps.
    """

    tasks: tuple[str, ...]
    continuous: frozenset[str]
    helpers: nn.ModuleDict
    validate_every: int

    def create_network(self) -> nn.Module:
        """The network with fresh weights; its `config` holds all its arguments."""
        ...

    def batch(self, step: int) -> Batch:
        """What is learnt from in a step; depends on the seed and the step's number alone."""
        ...

    def losses(self, network: nn.Module, batch: Batch) -> Losses:
        """One pass through the network: a scalar for each task that has something to learn from in the batch."""
        ...

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Scores on the validation subjects, by "task score"; the network is left in whatever mode."""
        ...

    def description(self, scores: dict[str, float]) -> dict[str, Any]:
        """Fields of the weights' description: tasks, and what else there is; "training" is added to by the loop."""
        ...
