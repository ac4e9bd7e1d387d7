"""The cost of a network: its parameters, and the floating-point operations of one forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from medley.models.blocks import RestorationNetwork


def parameters(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def flops(model: nn.Module, shape: Sequence[int]) -> int:
    """Operations of products, convolutions and attention for one input of `shape` (channels, *spatial), no batch.

    A multiplication and the addition that follows it count as two; everything else (norms, activations, softmax) is
    left out. Runs the network once, in evaluation mode and on its own device; STL, HPS, MTAN and CTAN may be on "meta",
    where nothing is calculated.
    """
    first = next(model.parameters())
    was_training = model.training
    inputs = [torch.zeros(1, *shape, dtype=first.dtype, device=first.device)]
    if isinstance(model, RestorationNetwork):  # some have a second input
        inputs = [one.to(first) for one in model.example(1, *shape[1:])]
    # The unfused form of attention: the counter does not know all fused ones.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.eval()(*inputs)
    model.train(was_training)
    return counter.get_total_flops()
