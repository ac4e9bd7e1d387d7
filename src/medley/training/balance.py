"""Weights of the tasks' losses and aggregation of their gradients, for restorers and multi-task networks.

There are two stages: a weighting multiplies the tasks' losses by weights; then the losses are summed, or their
gradients on the parameters that several tasks share are aggregated by torchjd, which resolves conflicts.
The balancing of TAT and UniH3 weights samples instead of tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.errors import MedleyError
from medley.training.losses import distance
from medley.training.settings import Balance

_WIDTH = 16  # of the network of TAT's balancing
_CHANNELS = 48  # of that of UniH3

Losses = dict[str, Tensor]  # task -> scalar; tasks without labels in the batch are absent


def create_weighting(balance: Balance, tasks: Sequence[str], continuous: Iterable[str] = ()) -> Weighting:
    """The weighting of a recipe.

    Parameters
    ----------
    tasks: names of the losses. continuous: those of continuous targets.

    Raises
    ------
    MedleyError: fixed weights for a task that is not trained.
    """
    if unknown := ", ".join(sorted(balance.weights.keys() - set(tasks))):
        raise MedleyError(f"balance.weights names {unknown}, but the tasks are {', '.join(tasks)}")
    if balance.name == "uncertainty":
        return UncertaintyWeighting(tasks, continuous)
    if balance.name == "dwa":
        return DynamicWeightAverage(tasks, balance.period, balance.temperature)
    return FixedWeighting(tasks, balance.weights)


class Weighting(nn.Module):
    """Maps losses to weighted losses. A loss that is not in `tasks`, such as a router's own, is unchanged.

    In each step, `forward` is called for each part of the step, `penalty` and `record` once.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    def forward(self, losses: Losses) -> Losses:
        """The losses, each multiplied by its weight."""
        return {name: self.weigh(name, loss) if name in self.tasks else loss for name, loss in losses.items()}

    def weigh(self, task: str, loss: Tensor) -> Tensor:
        """One loss multiplied by its weight."""
        raise NotImplementedError

    def penalty(self, tasks: Iterable[str]) -> Tensor | None:
        """A further loss of a step with labels of these tasks that depends on the weights only; None: there is none."""

    def record(self, losses: Mapping[str, float]) -> None:
        """Take note of the losses of a step, before they were weighted."""


class FixedWeighting(Weighting):
    """A fixed factor for each task, 1 where none is given."""

    def __init__(self, tasks: Sequence[str], weights: Mapping[str, float]) -> None:
        super().__init__(tasks)
        self.weights = dict(weights)

    def weigh(self, task: str, loss: Tensor) -> Tensor:
        """loss · weight."""
        return loss * self.weights.get(task, 1.0)


class UncertaintyWeighting(Weighting):
    """Kendall, Gal & Cipolla, CVPR 2018 (arXiv 1705.07115), eq. 7 and 10: a learned variance σ² for each task.

    loss / (2 σ²) + log σ for continuous targets, loss / σ² + log σ for others; log σ is the penalty. The parameter is
    log σ², initially 0.
    """

    def __init__(self, tasks: Sequence[str], continuous: Iterable[str] = ()) -> None:
        super().__init__(tasks)
        self.continuous = frozenset(continuous)
        self.log_variance = nn.Parameter(torch.zeros(len(self.tasks)))

    def weigh(self, task: str, loss: Tensor) -> Tensor:
        """The loss divided by its variance, for continuous targets by twice its variance."""
        log_variance = self.log_variance[self.tasks.index(task)]
        return torch.exp(-log_variance) * (0.5 if task in self.continuous else 1.0) * loss

    def penalty(self, tasks: Iterable[str]) -> Tensor:
        """The sum of log σ; it may be negative."""
        return 0.5 * self.log_variance[[self.tasks.index(task) for task in tasks]].sum()


class DynamicWeightAverage(Weighting):
    """Liu, Johns & Davison, CVPR 2019 (arXiv 1803.10704), eq. 7: a loss that falls more slowly has a larger weight.

    The weights sum to the number of tasks: softmax(r / temperature) · tasks, where r is the mean loss of the last
    period divided by that of the period before. They are 1 in the first two periods.

    Parameters
    ----------
    period: steps that are averaged; an epoch in the paper.
    """

    weights: Tensor
    sums: Tensor
    counts: Tensor
    last: Tensor
    steps: Tensor

    def __init__(self, tasks: Sequence[str], period: int, temperature: float) -> None:
        super().__init__(tasks)
        self.period = period
        self.temperature = temperature
        count = len(self.tasks)
        self.register_buffer("weights", torch.ones(count))
        self.register_buffer("sums", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(count, dtype=torch.int64))
        self.register_buffer("last", torch.full((count,), torch.nan, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def weigh(self, task: str, loss: Tensor) -> Tensor:
        """loss · weight in this period."""
        return loss * self.weights[self.tasks.index(task)]

    def record(self, losses: Mapping[str, float]) -> None:
        """Add the losses to the running means; at the end of a period, update the weights."""
        self.steps += 1
        for k, task in enumerate(self.tasks):
            if task in losses:
                self.sums[k] += losses[task]
                self.counts[k] += 1
        if self.steps == self.period:
            mean = self.sums / self.counts
            rate = mean / self.last
            if rate.isfinite().all():
                self.weights.copy_(torch.softmax(rate / self.temperature, 0) * len(self.tasks))
            self.last.copy_(mean)
            for buffer in (self.sums, self.counts, self.steps):
                buffer.zero_()


def create_aggregator(name: str) -> Callable[[Tensor], Tensor]:
    """A function of torchjd that aggregates gradients (tasks, P) to one (P,).

    Parameters
    ----------
    name: "pcgrad" (Yu et al., arXiv 2001.06782), "mgda" (Désidéri 2012; Sener & Koltun, arXiv 1810.04650),
        "aligned-mtl" (Senushkin et al., arXiv 2305.19000), "imtl-g" (Liu et al., ICLR 2021).
    """
    from torchjd import aggregation

    kinds: dict[str, Any] = {
        "pcgrad": aggregation.PCGrad,
        "mgda": aggregation.MGDA,
        "aligned-mtl": aggregation.AlignedMTL,
        "imtl-g": aggregation.IMTLG,
    }
    return kinds[name]()


def backward_aggregated(
    losses: Sequence[Tensor],
    others: Sequence[Tensor],
    parameters: Sequence[nn.Parameter],
    aggregate: Callable[[Tensor], Tensor],
    backward: Callable[..., None] = Tensor.backward,
) -> None:
    """Set the gradients of a network: aggregated for parameters that several tasks share, otherwise as usual.

    Parameters
    ----------
    losses: scalars of the tasks.
    others: losses that belong to no task, such as a router's own; their gradients are added.
    parameters: of the network, without gradients. Other parameters that the losses depend on get the plain sum.
    aggregate: gradients of the shared parameters (losses, P) -> one (P,).
    backward: has the signature of `Tensor.backward`; mixed precision needs its own.
    """
    rows = []
    for loss in losses:
        backward(loss, retain_graph=True)
        rows.append([parameter.grad for parameter in parameters])
        for parameter in parameters:
            parameter.grad = None
    found = [[row[k] for row in rows if row[k] is not None] for k in range(len(parameters))]
    for parameter, gradients in zip(parameters, found, strict=True):
        parameter.grad = gradients[0] if gradients else None
    shared = [k for k, gradients in enumerate(found) if len(gradients) > 1]
    if shared:
        matrix = torch.stack([_joined([row[k] for k in shared], [parameters[k] for k in shared]) for row in rows])
        parts = aggregate(matrix).split([parameters[k].numel() for k in shared])
        for k, part in zip(shared, parts, strict=True):
            parameters[k].grad = part.view_as(parameters[k])
    if others:
        backward(torch.stack(list(others)).sum())


def _joined(gradients: Sequence[Tensor | None], parameters: Sequence[nn.Parameter]) -> Tensor:
    """The gradients of one loss as a vector; 0 for parameters it does not depend on."""
    pairs = zip(gradients, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


class TatBalance(nn.Module):
    """TAT's loss balancing (arXiv 2512.14550): a small network weights each sample by its difficulty; it is trained
    together with the restorer.

    It estimates an uncertainty w from three mean absolute differences of a sample (detached from the graph). The loss
    of the sample is L1 / (2 w²) + log(1 + w²) / 2: difficult samples have a smaller weight, and the second term
    penalises large w. Initially w is 1 for every sample.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(3, _WIDTH)
        self.norm = nn.LayerNorm(_WIDTH)
        self.widen = nn.Linear(_WIDTH, _WIDTH**2)
        self.narrow = nn.Linear(_WIDTH**2, _WIDTH)
        self.leave = nn.Linear(_WIDTH, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.ones_(self.leave.bias)

    def forward(self, low: Tensor, restored: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch, a scalar. All (B, 1, H, W): the network's input, its output, and the target."""
        error = distance(restored, target)  # (B,)
        distances = torch.stack([distance(low, target), distance(low, restored), error], dim=1).detach()  # (B, 3)
        square = self.uncertainty(distances) ** 2
        return (0.5 * error / (square + 1e-8) + 0.5 * torch.log1p(square)).mean()

    def uncertainty(self, distances: Tensor) -> Tensor:
        """Mean absolute differences (B, 3), (input, target), (input, restored), (restored, target) -> w (B,)."""
        x = self.enter(distances)
        x = x + self.narrow(F.gelu(self.widen(self.norm(x))))
        return self.leave(x).squeeze(1)


class UniH3Balance(nn.Module):
    """The loss balancing of UniH3 (arXiv 2609.11156): a small convolutional network and a scalar per task.

    w of a sample is the mean over all pixels of three convolutions of the absolute differences |input - target|,
    |input - restored| and |restored - target| (restored detached), plus a learned scalar of its task, initially 1. The
    loss of the sample is L1 / (w² + 1e-8) + log(1 + w²).

    Parameters
    ----------
    tasks: names of the tasks.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.estimate = nn.Sequential(
            nn.Conv2d(3, _CHANNELS, 3, padding=1), nn.GELU(),
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1), nn.GELU(),
            nn.Conv2d(_CHANNELS, 1, 3, padding=1),
        )  # fmt: skip
        self.of_task = nn.Parameter(torch.ones(len(self.tasks)))

    def forward(self, low: Tensor, restored: Tensor, target: Tensor, tasks: Sequence[str]) -> Tensor:
        """The loss of a batch, a scalar. All (B, 1, H, W): the network's input, its output, and the target."""
        square = self.uncertainty(low, restored.detach(), target, tasks) ** 2
        return (distance(restored, target) / (square + 1e-8) + torch.log1p(square)).mean()

    def uncertainty(self, low: Tensor, restored: Tensor, target: Tensor, tasks: Sequence[str]) -> Tensor:
        """w of each sample, (B,)."""
        differences = torch.cat([(low - target).abs(), (low - restored).abs(), (restored - target).abs()], dim=1)
        of_task = self.of_task[[self.tasks.index(task) for task in tasks]]
        return self.estimate(differences).mean(dim=(1, 2, 3)) + of_task
