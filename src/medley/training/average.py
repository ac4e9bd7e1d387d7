"""The exponential moving average of a network's weights, which is validated and saved."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

_POWER = 2 / 3  # of the warm-up


def averaged(network: nn.Module, decay: float, *, warmup: bool = False) -> AveragedModel:
    """A copy of a network that averages its parameters; `update_parameters` is called after every step.

    The first update copies the parameters; buffers are always copied. Update k > 1 is decay · average + (1 - decay) ·
    parameters. With warm-up its decay is at most 1 - k^(-2/3), as in ema_pytorch, which UniH3's program uses: the
    initial weights are forgotten faster.
    """

    def update(average: Any, parameters: Any, updates: Tensor | int) -> None:
        current = min(decay, 1 - (1 + int(updates)) ** -_POWER) if warmup else decay
        get_ema_multi_avg_fn(current)(average, parameters, updates)

    return AveragedModel(network, multi_avg_fn=update)
