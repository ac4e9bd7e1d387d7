"""The fast forms of the restorers, equal to the textbook forms up to rounding, with the same parameters.

`optimise` replaces the class of every layer of a network by a fast one; `textbook` undoes that. Between fast layers a
map (B, C, H, W) lies in memory as (H, W, B, C): the channels last, and the samples of a batch next to them. On a CPU a
1x1 convolution is then one matrix product, layer normalisation runs along the memory, and a depthwise convolution with
different kernels for every sample is one depthwise convolution of B·C channels. Without gradients, blocks work in
strips of rows and overwrite their input; with gradients, some backward passes are written by hand.
"""

from __future__ import annotations

import copy
from typing import TypeVar, cast

from torch import nn

from medley.models.amir import SpatialRouter
from medley.models.attention import Attention
from medley.models.blocks import Block, FeedForward, Stage
from medley.models.fast._attention import FastAttention
from medley.models.fast._gated import FastDouble, FastGatedBlock, FastHalve
from medley.models.fast._layers import (
    FastBlock,
    FastConv,
    FastDown,
    FastFeedForward,
    FastFusion,
    FastPointwiseConv,
    FastSkip,
    FastSpatialRouter,
    FastStage,
    FastUp,
)
from medley.models.layers import Conv, Down, Fusion, PointwiseConv, Skip, Up
from medley.models.slab import Double, GatedBlock, Halve
from medley.models.tat import TAT

__all__ = ["FORMS", "optimise", "textbook"]

Network = TypeVar("Network", bound=nn.Module)

# Textbook form -> fast form.
FORMS: dict[type[nn.Module], type[nn.Module]] = {
    Attention: FastAttention,
    Block: FastBlock,
    Conv: FastConv,
    Double: FastDouble,
    Down: FastDown,
    FeedForward: FastFeedForward,
    Fusion: FastFusion,
    GatedBlock: FastGatedBlock,
    Halve: FastHalve,
    PointwiseConv: FastPointwiseConv,
    Skip: FastSkip,
    SpatialRouter: FastSpatialRouter,
    Stage: FastStage,
    Up: FastUp,
}


def optimise(network: Network) -> Network:
    """Bring a network to its fast form, in place, and return it; networks without a fast form are left unchanged."""
    _swap(network, FORMS)
    if isinstance(network, TAT):
        cast(FastStage, network.refinement).keep_input = True  # the output layers need the input of this stage too
    return network


def textbook(network: Network) -> Network:
    """The same network in textbook form. It shares the parameters and buffers of `network`, which is not changed."""
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    twin = copy.deepcopy(network, shared)
    _swap(twin, {fast: plain for plain, fast in FORMS.items()})
    return twin


def _swap(network: nn.Module, forms: dict[type[nn.Module], type[nn.Module]]) -> None:
    for module in network.modules():
        module.__class__ = forms.get(type(module), type(module))
