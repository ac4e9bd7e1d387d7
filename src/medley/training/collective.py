"""Sums over the processes that train together; with one process, nothing happens.

The samples of a step and its losses do not depend on the number of processes. A process computes its summands of the
losses of the whole step; the gradients are summed once, after the last backward pass of the step. (The wrapper
`DistributedDataParallel` is not used: it needs a gradient of every parameter in every process, but experts without
samples and targets without labels have none.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def number() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def summed(tensor: Tensor) -> Tensor:
    """The sum over all processes of a tensor of the same shape in each; gradients pass through it."""
    return _Summed.apply(tensor) if number() > 1 else tensor


def summed_values(values: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Tensors with the same names and shapes in all processes, summed over the processes in one message.

    Parameters
    ----------
    values: on the CPU, as the result. device: of this process, which the message needs.
    """
    if number() == 1:
        return dict(values)
    total = summed(torch.cat([tensor.flatten() for tensor in values.values()]).to(device)).cpu()
    parts = total.split([tensor.numel() for tensor in values.values()])
    return {name: part.view_as(values[name]) for name, part in zip(values, parts, strict=True)}


def in_any(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is true in one of the processes."""
    return bool(summed(torch.tensor(float(flag), device=device)) > 0)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients by their sums over all processes, in one message.

    A parameter that has no gradient in any process keeps none.

    Parameters
    ----------
    parameters: the same in all processes.
    """
    if number() == 1:
        return
    parameters = list(parameters)
    device = parameters[0].device
    known = summed(torch.tensor([float(one.grad is not None) for one in parameters], device=device)).tolist()
    used = [one for one, count in zip(parameters, known, strict=True) if count]
    if not used:
        return
    total = torch.cat([(torch.zeros_like(one) if one.grad is None else one.grad).flatten() for one in used])
    dist.all_reduce(total)
    for one, part in zip(used, total.split([one.numel() for one in used]), strict=True):
        one.grad = part.view_as(one)


def synchronise_norms(network: nn.Module) -> None:
    """Let batch normalisation use the mean and the variance over the samples of all processes."""
    for module in network.modules() if number() > 1 else ():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.__class__ = _SynchronisedNorm


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


class _SynchronisedNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over all processes, each of which has as many samples; for any device."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        axes = [0, *range(2, x.ndim)]
        shape = (1, -1, *[1] * (x.ndim - 2))
        values = x.float()
        count = number() * x.numel() // x.shape[1]
        mean = summed(values.sum(axes)) / count
        values = values - mean.view(shape)
        variance = summed(values.square().sum(axes)) / count
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            momentum = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach(), momentum)
            self.running_var.lerp_(variance.detach() * (count / max(count - 1, 1)), momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        values = values * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            values = values * self.weight.view(shape) + self.bias.view(shape)
        return values.to(x.dtype)

    def _check_input_dim(self, x: Tensor) -> None:
        """Any number of dimensions."""
