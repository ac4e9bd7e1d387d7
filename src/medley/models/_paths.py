"""Task-specific features from a shared backbone, stage by stage: the attention of MTAN and of CTAN's encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.models.resnet import Features, ResNet


class TaskPath(nn.Module):
    """The encoder path of one target next to the backbone: masked features of each stage.

    From the shared features S_i of stage i and the features T_{i-1} of the target:
    mask_i = sigmoid(BN(conv1x1(relu(BN(conv1x1([S_i, T_{i-1}])))))), and T_i = pool(relu(BN(conv3x3(mask_i · S_i)))).
    T_0 is the output of the stem; the last T is not pooled.

    Parameters
    ----------
    backbone: the network whose features are masked.
    squeeze: ratio of the channels of S_i to those of T_i; a 1x1 convolution (norm, ReLU) to the smaller width precedes
        the 3x3 convolution. With squeeze 1, the path of a target costs several times as much as the whole backbone.
    others: whether the mask also depends on the mean features of the other targets: [S_i, T_{i-1}, mean] (CTAN).
    """

    def __init__(self, backbone: ResNet, squeeze: int, others: bool = False) -> None:
        super().__init__()
        if squeeze < 1 or any(outer % squeeze for outer in backbone.outer):
            raise ValueError(f"squeeze must divide the stages' channels {backbone.outer}, got {squeeze}")
        layers = backbone.layers
        self.masks, self.convs = nn.ModuleList(), nn.ModuleList()
        own = backbone.stem_width
        for outer in backbone.outer:
            width = outer // squeeze
            look = layers.unit(outer + own * (2 if others else 1), width)
            self.masks.append(nn.Sequential(look, layers.conv(width, outer), layers.normalise(outer), nn.Sigmoid()))
            narrow = layers.unit(outer, width) if squeeze > 1 else nn.Identity()
            self.convs.append(nn.Sequential(narrow, layers.unit(width, width, kernel=3)))
            own = width

    def forward(self, stage: int, shared: Tensor, seen: Sequence[Tensor]) -> Tensor:
        """T of a stage before pooling: (B, width, *spatial).

        shared: S (B, outer, *spatial). seen: the other inputs of the mask, (B, channels, *spatial) each.
        """
        mask = self.masks[stage](torch.cat([shared, *seen], dim=1))
        return self.convs[stage](mask * shared)


def walk(paths: nn.ModuleDict, shared: Features, others: bool = False) -> dict[str, list[Tensor]]:
    """The paths of all targets, stage by stage: name -> T of every stage before pooling.

    others: whether each target uses the mean T of the others; the paths must have been created for it.
    """
    pool = F.max_pool3d if shared.stem.ndim == 5 else F.max_pool2d
    own = dict.fromkeys(paths, shared.stem)
    found: dict[str, list[Tensor]] = {name: [] for name in paths}
    for i, features in enumerate(shared.stages):
        if i:
            own = {name: pool(maps[-1], 2) for name, maps in found.items()}
        for name, maps in found.items():
            seen = [own[name]]
            if others:
                theirs = [own[other] for other in own if other != name]
                seen.append(sum(theirs[1:], theirs[0]) / len(theirs))
            maps.append(paths[name](i, features, seen))
    return found
