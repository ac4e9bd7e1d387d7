"""Several outputs from one image: the networks that CTAN (arXiv 2309.03837) is compared with.

* STL, single-task learning: one network for each target.
* HPS, hard parameter sharing: one encoder, one decoder for each target.
* MTAN (Liu et al., CVPR 2019, arXiv 1803.10704): each target attends to the parts of the shared features it needs.

The authors used other backbones. Here all use that of CTAN, so that they differ only in how parameters are shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.errors import MedleyError
from medley.models._paths import TaskPath, walk
from medley.models.resnet import Features, Layers, MapDecoder, ResNet, decoder_widths
from medley.runtime.guard import reading

SMALLEST_SIDE = 16
_CLASSIFIER = ("fc.",)  # layers of a ResNet for ImageNet that a backbone does not have
_COUNTER = "num_batches_tracked"  # older files lack it

# Name of a target -> ("pixel" or "image", number of output channels).
Targets = Mapping[str, Sequence[Any]]


class HPS(nn.Module):
    """Hard parameter sharing: all targets share the backbone, each has its own decoder.

    The decoder of a pixel-level target is the up path of a U-Net with skip connections from the stages of the backbone;
    that of an image-level target is the global mean of the last stage and a linear layer.

    Parameters
    ----------
    targets: name -> ("pixel" or "image", channels), such as {"dose": ("pixel", 1), "diagnosis": ("image", 3)}.
    dimension: 2 or 3. channels: of the image.
    width, widest, blocks, expansion, stem: of the backbone, see `ResNet`; the defaults are those of ResNet-50.
    norm: "batch" or "group".

    Attributes
    ----------
    config: the arguments that create the same network again.
    """

    config: dict[str, Any]

    def __init__(
        self,
        *,
        targets: Targets,
        dimension: int = 2,
        channels: int = 1,
        width: int = 64,
        widest: int | None = None,
        blocks: Sequence[int] = (3, 4, 6, 3),
        expansion: int = 4,
        stem: int = 4,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.config = {
            "targets": checked_targets(targets),
            "dimension": dimension,
            "channels": channels,
            "width": width,
            "widest": widest,
            "blocks": list(blocks),
            "expansion": expansion,
            "stem": stem,
            "norm": norm,
        }
        self.layers = Layers(dimension, norm)
        self.encoder = ResNet(self.layers, channels, width, widest, blocks, expansion, stem)
        self._make_decoders(self.encoder.outer)

    def _make_decoders(self, skips: Sequence[int]) -> None:
        """One decoder for each target, for stages with the given numbers of channels."""
        self.decoders = nn.ModuleDict()
        for name, (level, channels) in self.config["targets"].items():
            if level == "image":
                self.decoders[name] = nn.Linear(skips[-1], channels)
            else:
                finer, widths = self.encoder.finer, decoder_widths(self.encoder)
                self.decoders[name] = MapDecoder(self.layers, [*finer, *skips], widths, channels)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(B, channels, *spatial) -> name of the target -> (B, k, *spatial) or (B, k): logits, or a scaled map.

        Any spatial size from 16 up: sizes that are not multiples of the stride are padded by replication, then cropped.
        """
        dimension, channels = self.config["dimension"], self.config["channels"]
        size = image.shape[2:]
        if image.ndim != 2 + dimension or image.shape[1] != channels or min(size) < SMALLEST_SIDE:
            raise ValueError(
                f"expected (B, {channels}, *spatial) with {dimension} spatial axes of at least {SMALLEST_SIDE}, got "
                f"{tuple(image.shape)}"
            )
        padding = [amount for side in reversed(size) for amount in (0, -side % self.encoder.stride)]
        shared = self.encoder(F.pad(image, padding, mode="replicate"))
        outputs = self.decode(shared, self.of_targets(shared))
        crop: tuple[Any, ...] = (..., *(slice(side) for side in size))
        return {name: output[crop] if output.ndim > 2 else output for name, output in outputs.items()}

    def decode(self, shared: Features, own: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        """The outputs on the padded grid, from the maps of the backbone and those of each target."""
        return {
            name: self.decoders[name]([*shared.finer, *stages])
            if isinstance(self.decoders[name], MapDecoder)
            else self.decoders[name](stages[-1].flatten(2).mean(dim=2))
            for name, stages in own.items()
        }

    def of_targets(self, shared: Features) -> dict[str, list[Tensor]]:
        """The inputs of each decoder, one map for each stage; here those of the backbone."""
        return dict.fromkeys(self.decoders, shared.stages)

    def shared_parameters(self) -> list[nn.Parameter]:
        """The parameters that more than one target depends on."""
        return list(self.encoder.parameters()) if len(self.decoders) > 1 else []


class STL(nn.Module):
    """Single-task learning: one network for each target, each an `HPS` with that target only, in one module.

    No parameters are shared; one run trains all networks. The arguments are those of `HPS`.
    """

    config: dict[str, Any]

    def __init__(
        self,
        *,
        targets: Targets,
        dimension: int = 2,
        channels: int = 1,
        width: int = 64,
        widest: int | None = None,
        blocks: Sequence[int] = (3, 4, 6, 3),
        expansion: int = 4,
        stem: int = 4,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleDict()
        for name, output in checked_targets(targets).items():
            self.networks[name] = network = HPS(
                targets={name: output}, dimension=dimension, channels=channels, width=width, widest=widest,
                blocks=blocks, expansion=expansion, stem=stem, norm=norm,
            )  # fmt: skip
        self.config = network.config | {"targets": checked_targets(targets)}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """As `HPS.forward`."""
        return {name: network(image)[name] for name, network in self.networks.items()}

    def shared_parameters(self) -> list[nn.Parameter]:
        """None."""
        return []


class MTAN(HPS):
    """Multi-task attention network: at every stage, each target multiplies the shared features by its own mask.

    The features of a target are computed by a `TaskPath` beside the backbone; they are the skip connections of its
    decoder. The arguments are those of `HPS`, and

    squeeze: ratio of the channels of the backbone to those of a target's features, see `TaskPath`.
    """

    def __init__(
        self,
        *,
        targets: Targets,
        dimension: int = 2,
        channels: int = 1,
        width: int = 64,
        widest: int | None = None,
        blocks: Sequence[int] = (3, 4, 6, 3),
        expansion: int = 4,
        stem: int = 4,
        norm: str = "batch",
        squeeze: int = 4,
    ) -> None:
        super().__init__(
            targets=targets, dimension=dimension, channels=channels, width=width, widest=widest, blocks=blocks,
            expansion=expansion, stem=stem, norm=norm,
        )  # fmt: skip
        self.config["squeeze"] = squeeze
        self.paths = nn.ModuleDict({name: TaskPath(self.encoder, squeeze) for name in targets})
        self._make_decoders([outer // squeeze for outer in self.encoder.outer])

    def of_targets(self, shared: Features) -> dict[str, list[Tensor]]:
        """The feature maps of each target, one for each stage."""
        return walk(self.paths, shared)


def checked_targets(targets: Targets) -> dict[str, list[Any]]:
    """The targets as in a config, name -> [level, channels].

    Raises
    ------
    ValueError: no target, a name that a module cannot have, a level other than "pixel" or "image", no channel.
    """
    if not targets:
        raise ValueError("at least one target is needed")
    for name, (level, channels) in targets.items():
        if not name or "." in name or hasattr(nn.ModuleDict(), name):
            raise ValueError(f"a target cannot be called {name!r}")
        if level not in ("pixel", "image") or channels < 1:
            raise ValueError(f"{name}: expected ('pixel' or 'image', channels from 1 up), got {(level, channels)}")
    return {name: list(output) for name, output in targets.items()}


def load_backbone(model: nn.Module, path: str | Path) -> None:
    """Load the weights of a ResNet, such as one trained on ImageNet, into the backbones of a 2-D network.

    path: a `.pth` or `.safetensors` state dict with the usual names (conv1, bn1, layer1.0.conv1, downsample.0 ...); its
    classifier ("fc") is ignored. For use before training: weights files of medley contain the backbone.

    Raises
    ------
    MedleyError: no such file; not a state dict; the network is 3-D or has no such backbone; other names or shapes.
    """
    backbones = [part for part in model.modules() if isinstance(part, ResNet)]
    if not backbones:
        raise MedleyError(f"{path} cannot be loaded into {type(model).__name__}, which has no ResNet backbone")
    if backbones[0].layers.dimension != 2:
        raise MedleyError(f"{path} cannot be loaded into a 3-D network: backbone weights are for dimension=2")
    tensors = {name: t for name, t in _read(Path(path)).items() if not name.startswith(_CLASSIFIER)}
    wanted = backbones[0].state_dict()
    for name, tensor in wanted.items():
        if name not in tensors and name.endswith(_COUNTER):
            tensors[name] = tensor
        elif name not in tensors:
            raise MedleyError(f"{path} has no tensor {name!r}, which the backbone has; expected a ResNet of this depth")
        elif tensors[name].shape != tensor.shape:
            raise MedleyError(
                f"{path}: {name} has shape {tuple(tensors[name].shape)} but the backbone has {tuple(tensor.shape)}; "
                "use the channels, width, stem and expansion of the file"
            )
    if surplus := sorted(tensors.keys() - wanted.keys()):
        raise MedleyError(
            f"{path} has tensors that the backbone does not have, such as {surplus[0]!r}; it may be deeper"
        )
    for backbone in backbones:
        backbone.load_state_dict(tensors)


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict by name."""
    from safetensors.torch import load_file

    if not path.is_file():
        raise MedleyError(f"there is no file {path} with weights of a backbone")
    with reading(path, "a state dict"):
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    if not isinstance(content, dict) or not all(isinstance(t, Tensor) for t in content.values()):
        raise MedleyError(f"{path} is not a state dict: expected a tensor for each name")
    return content
