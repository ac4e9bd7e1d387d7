"""How much each task counts, and how the tasks' gradients become one step. Restorers and multi-task nets alike.

Two stages: a weighting takes the tasks' losses and gives them back weighed; then they are summed, or their gradients
on the parameters that several tasks share are aggregated by torchjd, which settles conflicts between them.
TAT's balancing weighs samples instead of tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.errors import MedleyError
from medley.training.recipe import Balance

_WIDTH = 16

Losses = dict[str, Tensor]  # task -> scalar; tasks without any label in a batch are absent


def create_weighting(balance: Balance, tasks: Sequence[str], continuous: Iterable[str] = ()) -> Weighting:
    """The weighting that a recipe names.

    Parameters
    ----------
    tasks: names of the losses. continuous: those among them whose answer is a continuous value.

    Raises
    ------
    MedleyError: fixed weights for a task that is not learnt.
    """
    if unknown := ", ".join(sorted(balance.weights.keys() - set(tasks))):
        raise MedleyError(f"balance.weights names {unknown}, but the tasks are {', '.join(tasks)}")
    if balance.name == "uncertainty":
        return UncertaintyWeighting(tasks, continuous)
    if balance.name == "dwa":
        return DynamicWeightAverage(tasks, balance.period, balance.temperature)
    return FixedWeighting(tasks, balance.weights)


class Weighting(nn.Module):
    """Losses in, weighed losses out. A loss that is not one of `tasks`, such as a router's own, passes as it is."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    def forward(self, losses: Losses) -> Losses:
        """The same losses, each times its weight."""
        return {name: self.weigh(name, loss) if name in self.tasks else loss for name, loss in losses.items()}

    def weigh(self, task: str, loss: Tensor) -> Tensor:
        """One loss, weighed."""
        raise NotImplementedError


class FixedWeighting(Weighting):
    """Every task times a factor, 1 where none is given."""

    def __init__(self, tasks: Sequence[str], weights: Mapping[str, float]) -> None:
        super().__init__(tasks)
        self.weights = dict(weights)

    def weigh(self, task: str, loss: Tensor) -> Tensor:
        """loss · weight."""
        return loss * self.weights.get(task, 1.0)


class UncertaintyWeighting(Weighting):
    """Kendall, Gal & Cipolla, CVPR 2018 (arXiv 1705.07115), eq. 7 and 10: a learnt variance σ² for every task.

    loss / (2 σ²) + log σ for continuous answers, loss / σ² + log σ for the others. What is learnt is log σ², from 0.
    """

    def __init__(self, tasks: Sequence[str], continuous: Iterable[str] = ()) -> None:
        super().__init__(tasks)
        self.continuous = frozenset(continuous)
        self.log_variance = nn.Parameter(torch.zeros(len(self.tasks)))

    def weigh(self, task: str, loss: Tensor) -> Tensor:
        """The loss by its uncertainty, plus the price of that uncertainty; it may be negative."""
        log_variance = self.log_variance[self.tasks.index(task)]
        precision = torch.exp(-log_variance) * (0.5 if task in self.continuous else 1.0)
        return precision * loss + 0.5 * log_variance


class DynamicWeightAverage(Weighting):
    """Liu, Johns & Davison, CVPR 2019 (arXiv 1803.10704), eq. 7: a loss that falls more slowly counts more.

    The weights sum to the number of tasks: softmax(r / temperature) · tasks, r = the loss's mean over the last period
    by that over the one before. They are 1 for the first two periods.

    Parameters
    ----------
    period: calls in training mode that are averaged; the paper's is an epoch.
    """

    weights: Tensor
    sums: Tensor
    counts: Tensor
    last: Tensor
    calls: Tensor

    def __init__(self, tasks: Sequence[str], period: int, temperature: float) -> None:
        super().__init__(tasks)
        self.period = period
        self.temperature = temperature
        count = len(self.tasks)
        self.register_buffer("weights", torch.ones(count))
        self.register_buffer("sums", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(count, dtype=torch.int64))
        self.register_buffer("last", torch.full((count,), torch.nan, dtype=torch.float64))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, losses: Losses) -> Losses:
        """The same losses, each times its weight, which is remembered."""
        if self.training:
            self._remember(losses)
        return super().forward(losses)

    def weigh(self, task: str, loss: Tensor) -> Tensor:
        """loss · weight of this period."""
        return loss * self.weights[self.tasks.index(task)]

    @torch.no_grad()
    def _remember(self, losses: Losses) -> None:
        if self.calls == self.period:
            mean = self.sums / self.counts
            rate = mean / self.last
            if rate.isfinite().all():
                self.weights.copy_(torch.softmax(rate / self.temperature, 0) * len(self.tasks))
            self.last.copy_(mean)
            for buffer in (self.sums, self.counts, self.calls):
                buffer.zero_()
        self.calls += 1
        for k, task in enumerate(self.tasks):
            if task in losses:
                self.sums[k] += losses[task].double()
                self.counts[k] += 1


def create_aggregator(name: str) -> Callable[[Tensor], Tensor]:
    """A way to make one gradient (P,) of several (tasks, P), by torchjd.

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
    """Set the gradients of a network: aggregated where several tasks' losses depend on a parameter, else as usual.

    Parameters
    ----------
    losses: of the tasks, scalars. others: losses of no task, such as a router's own; their gradients are added.
    parameters: of the network, without gradients so far. Others on which the losses depend get the plain sum.
    aggregate: gradients of the shared parameters (losses, P) -> one (P,).
    backward: called as `Tensor.backward`; what runs networks in mixed precision has its own.
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
    """The gradients of one loss as one vector; 0 where it does not depend on a parameter."""
    pairs = zip(gradients, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


class TatBalance(nn.Module):
    """TAT's loss balancing (arXiv 2512.14550): a tiny network weighs every sample by how hard it is; its parameters are
    trained with the restorer's.

    From three mean absolute differences of a sample (no gradient flows into them) it estimates an uncertainty w, and
    the sample's loss is L1 / (2 w²) + log(1 + w²) / 2: a hard sample counts less, but doubt has a price. At the start
    w is 1 for every sample.
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
        """The loss of a batch, a scalar. All three (B, 1, H, W): the network's input, its output, and the truth."""
        error = distance(restored, target)  # (B,)
        distances = torch.stack([distance(low, target), distance(low, restored), error], dim=1).detach()  # (B, 3)
        square = self.uncertainty(distances) ** 2
        return (0.5 * error / (square + 1e-8) + 0.5 * torch.log1p(square)).mean()

    def uncertainty(self, distances: Tensor) -> Tensor:
        """Mean absolute differences (B, 3), (input, target), (input, restored), (restored, target) -> w (B,)."""
        x = self.enter(distances)
        x = x + self.narrow(F.gelu(self.widen(self.norm(x))))
        return self.leave(x).squeeze(1)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of each sample: (B, ...) twice -> (B,)."""
    return (a - b).abs().flatten(1).mean(dim=1)
