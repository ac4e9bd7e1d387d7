"""Decoders that use features of each other; not in the paper. The attention of CTAN ends at the deepest stage, but a
dose depends on the outline of its targets, and a diagnosis on the inside of the lesion, which only the decoders find.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.models.resnet import Features, Layers, MapDecoder


class Exchange(nn.Module):
    """Two connections, both without effect with the initial weights, so that training starts from the paper.

    Pixel-level targets: on every decoder level, x_t += conv1x1(mean of x of the other targets).
    Image-level targets: in addition to the mean of the deepest map, its means weighted by sigmoid(output) of each
    pixel-level target. The weights are detached: the loss of a diagnosis must not change an outline.

    Parameters
    ----------
    decoders: of all targets. widths: channels of the map decoders on their levels, from the finest to the coarsest.
    """

    def __init__(self, decoders: nn.ModuleDict, widths: Sequence[int]) -> None:
        super().__init__()
        maps = {name: one for name, one in decoders.items() if isinstance(one, MapDecoder)}
        found = sum(decoder.answer.out_channels for decoder in maps.values())
        self.take, self.look = nn.ModuleDict(), nn.ModuleDict()
        for name, decoder in decoders.items():
            if isinstance(decoder, MapDecoder) and len(maps) > 1:
                self.take[name] = nn.ModuleList(_nothing(decoder.layers, width) for width in reversed(widths))
            elif isinstance(decoder, nn.Linear) and found:
                self.look[name] = nn.Linear(found * decoder.in_features, decoder.out_features, bias=False)
                nn.init.zeros_(cast(nn.Linear, self.look[name]).weight)

    def forward(self, decoders: nn.ModuleDict, shared: Features, own: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        """The output of every target, as in `HPS.decode`."""
        maps = {name: one for name, one in decoders.items() if isinstance(one, MapDecoder)}
        drafts = self._up(maps, {name: [*shared.finer, *own[name]] for name in maps})
        outputs = {}
        for name, stages in own.items():
            if name in maps:
                outputs[name] = drafts[name]
            else:
                deepest = stages[-1]
                outputs[name] = decoders[name](deepest.flatten(2).mean(dim=2))
                if name in self.look:
                    outputs[name] = outputs[name] + self.look[name](_means_within(list(drafts.values()), deepest))
        return outputs

    def _up(self, maps: Mapping[str, MapDecoder], levels: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        x = {name: found[-1] for name, found in levels.items()}
        steps = len(next(iter(levels.values()), [])) - 1
        for k in range(steps):
            x = {name: decoder.up(k, x[name], levels[name][-2 - k]) for name, decoder in maps.items()}
            if len(maps) > 1:
                total = torch.stack(list(x.values())).sum(dim=0)
                x = {
                    name: one + cast(nn.ModuleList, self.take[name])[k]((total - one) / (len(x) - 1))
                    for name, one in x.items()
                }
        return {name: decoder.finish(x[name]) for name, decoder in maps.items()}


def _nothing(layers: Layers, width: int) -> nn.Module:
    """A 1x1 convolution whose initial output is 0."""
    conv = layers.conv(width, width)
    nn.init.zeros_(conv.weight)
    return conv


def _means_within(drafts: Sequence[Tensor], deepest: Tensor) -> Tensor:
    """Means of a map (B, C, *coarse) weighted by each channel of the drafts (B, K, *fine) -> (B, K · C)."""
    found = torch.cat([draft.detach().sigmoid() for draft in drafts], dim=1)
    weights = F.interpolate(found, deepest.shape[2:], mode="area").flatten(2)
    weights = weights / weights.sum(dim=2, keepdim=True).clamp(min=1e-6)  # (B, K, N)
    return (weights.to(deepest.dtype) @ deepest.flatten(2).transpose(1, 2)).flatten(1)
