"""The optimizer of a recipe: groups of parameters, and the learning rate of each step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from medley.training.muon import Muon
from medley.training.settings import Optimizer


def create_optimizer(settings: Optimizer, network: nn.Module, auxiliary: nn.Module) -> torch.optim.Optimizer:
    """The optimizer for the parameters of a network and of its auxiliary modules."""
    decayed, others = split_by_weight_decay(network, auxiliary)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": settings.weight_decay if settings.decay_all else 0.0},
    ]
    common: dict[str, Any] = {"lr": settings.learning_rate, "betas": settings.betas, "eps": settings.epsilon}
    if settings.name == "muon":
        groups = muon_groups(groups, settings.muon_learning_rate)
        return Muon(groups, momentum=settings.momentum, **common)
    return torch.optim.AdamW(groups, **common)


def split_by_weight_decay(network: nn.Module, auxiliary: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters that weight decay applies to, and all others (to which it applies with `decay_all`).

    Decay applies to the weights of convolutions and linear layers of the network. It does not apply to biases,
    normalisation layers, attention temperatures, routers, nor to auxiliary modules (loss balancing), for which zero is
    no natural value.
    """
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        is_weight = name.rpartition(".")[2] == "weight" and parameter.ndim >= 2
        (decayed if is_weight else others).append(parameter)
    return decayed, [*others, *auxiliary.parameters()]


def muon_groups(groups: list[dict[str, Any]], rate: float | None) -> list[dict[str, Any]]:
    """The groups (with weight decay, without) for Muon, see `medley.training.settings.Optimizer`."""
    decayed, others = groups
    if rate is None:
        return [{**decayed, "muon": True}, others]

    def is_kernel(one: nn.Parameter) -> bool:
        return one.ndim > 3 and one[0, 0].numel() > 1

    of_muon, of_adamw = [], []
    for group in groups:
        kernels = [one for one in group["params"] if is_kernel(one)]
        of_muon.append({**group, "params": kernels, "muon": True, "scaled": False, "highest": rate})
        of_adamw.append({**group, "params": [one for one in group["params"] if not is_kernel(one)]})
    return [group for group in (*of_muon, *of_adamw) if group["params"]]


def learning_rate(step: int, steps: int, optimizer: Optimizer, highest: float | None = None) -> float:
    """The learning rate at a step (from 0) of `steps`: linear warm-up, then half a cosine.

    highest: of a group of parameters; None: `optimizer.learning_rate`.

    A run that is resumed with more steps continues on the schedule of the longer run, so the rate can rise there.
    """
    highest = highest or optimizer.learning_rate
    if step < optimizer.warmup_steps:
        return highest * (step + 1) / optimizer.warmup_steps
    fraction = (step - optimizer.warmup_steps) / max(steps - optimizer.warmup_steps, 1)
    span = highest - optimizer.final_learning_rate
    return optimizer.final_learning_rate + span * (1 + math.cos(math.pi * fraction)) / 2
