"""How much each sample counts: TAT's loss balancing (arXiv 2512.14550)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WIDTH = 16


class TatBalance(nn.Module):
    """A tiny network weighs every sample by how hard it is; its parameters are trained with the restorer's.

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
        error = _distance(restored, target)  # (B,)
        distances = torch.stack([_distance(low, target), _distance(low, restored), error], dim=1).detach()  # (B, 3)
        square = self.uncertainty(distances) ** 2
        return (0.5 * error / (square + 1e-8) + 0.5 * torch.log1p(square)).mean()

    def uncertainty(self, distances: Tensor) -> Tensor:
        """Mean absolute differences (B, 3), (input, target), (input, restored), (restored, target) -> w (B,)."""
        x = self.enter(distances)
        x = x + self.narrow(F.gelu(self.widen(self.norm(x))))
        return self.leave(x).squeeze(1)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of each sample: (B, ...) twice -> (B,)."""
    return (a - b).abs().flatten(1).mean(dim=1)
