"""AMIR, all-in-one medical image restoration with task-adaptive routing (arXiv 2405.19769).

A routing instruction, computed from the input image, sends every pixel through two of four small experts in the encoder
(spatial routing) and weights the channels in the decoder (channel routing). Feature maps are (B, C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.models.blocks import Trunk
from medley.models.layers import Conv, PointwiseConv

_INSTRUCTION_WIDTH = 64
_LEAK = 0.1  # slope of the leaky ReLUs for negative values
_AUXILIARY_WEIGHT = 0.001


class AMIR(Trunk):
    """All-in-one restoration with task-adaptive routing; the defaults are those of the paper, 23.54 M parameters.

    Parameters
    ----------
    dim, blocks, refinement, heads, expansion: as in `Trunk`; the experts have the same expansion.
    experts, active: number of experts of a spatial router, and the number of experts that process a pixel.
    atoms, dictionary_width: size of the dictionary of instructions.
    spatial_routing, channel_routing: whether the network has these routers. False for the ablations of the paper; a
        network without both is Restormer.

    Attributes
    ----------
    auxiliary_loss: after a forward pass in training mode a scalar to be added to the loss, which makes the experts
        equally used; its weight of 0.001 is included. None otherwise, and without spatial routing.

    Raises
    ------
    ValueError: the arguments contradict each other.
    """

    def __init__(
        self,
        *,
        dim: int = 42,
        blocks: Sequence[int] = (5, 7, 7, 9),
        refinement: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        expansion: float = 2.66,
        experts: int = 4,
        active: int = 2,
        atoms: int = 32,
        dictionary_width: int = 256,
        spatial_routing: bool = True,
        channel_routing: bool = True,
    ) -> None:
        super().__init__(dim, blocks, refinement, heads, expansion)
        if not (spatial_routing or channel_routing):
            raise ValueError("AMIR without spatial and without channel routing is Restormer; create that instead")
        self.config |= {
            "experts": experts,
            "active": active,
            "atoms": atoms,
            "dictionary_width": dictionary_width,
            "spatial_routing": spatial_routing,
            "channel_routing": channel_routing,
        }
        self.auxiliary_loss: Tensor | None = None
        self.instruction = RoutingInstruction(atoms, dictionary_width)
        self.spatial1, self.spatial2, self.spatial3 = (
            SpatialRouter(channels, dictionary_width, expansion, experts, active)
            if spatial_routing
            else NoSpatialRouter()
            for channels in (dim, 2 * dim, 4 * dim)
        )
        self.channel4, self.channel3, self.channel2, self.channel1 = (
            ChannelRouter(channels, dictionary_width) if channel_routing else NoChannelRouter()
            for channels in (8 * dim, 4 * dim, 2 * dim, 2 * dim)
        )
        self.output = Conv(2 * dim, 1)

    def first_level(self) -> list[nn.Module]:
        """With the first router."""
        return [self.spatial1, *super().first_level()]

    def residual(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, 1, H, W), sides multiples of 8."""
        instruction = self.instruction(image)
        x, imbalance1 = self.spatial1(self.embed(image), instruction)
        level1 = self.encoder1(x)
        x, imbalance2 = self.spatial2(self.down1(level1), instruction)
        level2 = self.encoder2(x)
        x, imbalance3 = self.spatial3(self.down2(level2), instruction)
        level3 = self.encoder3(x)
        x = self.latent(self.channel4(self.down3(level3), instruction))
        x = self.reduce3(self.skip(self.up3(x), level3))
        x = self.decoder3(self.channel3(x, instruction))
        x = self.reduce2(self.skip(self.up2(x), level2))
        x = self.decoder2(self.channel2(x, instruction))
        x = self.skip(self.up1(x), level1)
        x = self.decoder1(self.channel1(x, instruction))
        routed = self.training and self.config["spatial_routing"]
        self.auxiliary_loss = _AUXILIARY_WEIGHT * (imbalance1 + imbalance2 + imbalance3) if routed else None
        return self.output(self.refinement(x))

    def __getstate__(self) -> dict[str, Any]:
        """The loss belongs to one forward pass, not to the network: copies do not have it."""
        return self.__dict__ | {"auxiliary_loss": None}


class RoutingInstruction(nn.Module):
    """The routing instruction: a mixture of learned atoms chosen by the image, (B, 1, H, W) -> (B, width)."""

    def __init__(self, atoms: int, width: int) -> None:
        super().__init__()
        channels = _INSTRUCTION_WIDTH
        self.encode = nn.Sequential(
            Conv(1, channels, stride=3, padding=0, bias=True),
            nn.LeakyReLU(_LEAK),
            Conv(channels, channels, stride=3, padding=0, bias=True),
            nn.LeakyReLU(_LEAK),
            PointwiseConv(channels, channels),
            nn.LeakyReLU(_LEAK),
            PointwiseConv(channels, channels),
            nn.LeakyReLU(_LEAK),
            PointwiseConv(channels, atoms),
        )
        self.weigh = nn.Linear(atoms, atoms)
        self.dictionary = nn.Parameter(torch.randn(atoms, width))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, width)."""
        weights = self.weigh(self.encode(image).mean(dim=(2, 3))).softmax(dim=1)  # (B, atoms)
        return F.gelu(weights @ self.dictionary)


class SpatialRouter(nn.Module):
    """Mixture of experts for every pixel: x + log Σ_e g_e · exp(expert_e(x)), where only `active` gates g_e are not 0.

    This textbook form computes all experts everywhere; `medley.models.fast` computes only the chosen ones.
    """

    def __init__(self, channels: int, width: int, expansion: float, experts: int, active: int) -> None:
        super().__init__()
        if not 0 < active < experts:
            raise ValueError(f"of {experts} experts at least one and not all must be active, got {active}")
        self.active = active
        self.instruct = nn.Linear(width, channels)
        self.gate = nn.Parameter(torch.randn(2 * channels, experts))
        self.noise = nn.Parameter(torch.zeros(2 * channels, experts))
        hidden = int(channels * expansion)
        self.experts = nn.ModuleList(
            nn.Sequential(PointwiseConv(channels, hidden), nn.GELU(), PointwiseConv(hidden, channels))
            for _ in range(experts)
        )

    def forward(self, x: Tensor, instruction: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, C, H, W), instruction (B, width) -> (B, C, H, W), and the imbalance of the experts (0 in evaluation).

        The imbalance is the squared coefficient of variation of the gates' sums plus that of the expected number of
        pixels, over the experts (Shazeer et al., arXiv 1701.06538, sec. 4).
        """
        chosen, log_gates, imbalance = self.route(x, instruction)
        shape = (*log_gates.shape[:3], len(self.experts))
        log_gates = log_gates.new_full(shape, -torch.inf).scatter(3, chosen, log_gates)  # (H, W, B, experts)
        log_gates = log_gates.permute(2, 3, 0, 1).unsqueeze(2)  # (B, experts, 1, H, W)
        answers = torch.stack([expert(x) for expert in self.experts], dim=1)  # (B, experts, C, H, W)
        # log Σ g·exp(answer) = logsumexp(answer + log g), which cannot overflow.
        mixed = (answers.to(log_gates.dtype) + log_gates).logsumexp(dim=1)  # (B, C, H, W)
        return x + mixed.to(x.dtype), imbalance

    def route(self, x: Tensor, instruction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The numbers of the chosen experts and the logarithms of their gates, (H, W, B, active) each; the imbalance.

        In float32 also under autocast: a rounded logit would send pixels to other experts.
        """
        with torch.autocast(x.device.type, enabled=False):
            pixels = x.permute(2, 3, 0, 1).to(self.gate.dtype)  # (H, W, B, C), so that (B, C) is broadcast
            instruction = self.instruct(instruction.to(self.gate.dtype))  # (B, C)
            clean = self._project(pixels, instruction, self.gate)  # (H, W, B, experts)
            if not self.training:
                top, chosen = clean.topk(self.active, dim=3)
                return chosen, top.log_softmax(dim=3), clean.new_zeros(())
            std = F.softplus(self._project(pixels, instruction, self.noise)) + 0.01
            noisy = clean + torch.randn_like(clean) * std
            top, chosen = noisy.topk(self.active + 1, dim=3)
            chosen, log_gates = chosen[..., :-1], top[..., :-1].log_softmax(dim=3)
            importance = torch.zeros_like(clean).scatter(3, chosen, log_gates.exp()).sum(dim=(0, 1, 2))
            imbalance = _squared_variation(importance) + _squared_variation(_load(clean, noisy, std, top))
            return chosen, log_gates, imbalance

    @staticmethod
    def _project(x: Tensor, instruction: Tensor, weight: Tensor) -> Tensor:
        """[x, instruction] @ weight without concatenating the two: (H, W, B, experts)."""
        for_x, for_instruction = weight.chunk(2)
        return x @ for_x + instruction @ for_instruction


class NoSpatialRouter(nn.Module):
    """In place of `SpatialRouter` in the ablation: features pass unchanged."""

    def forward(self, x: Tensor, instruction: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, C, H, W), instruction (B, width) -> x, 0."""
        return x, x.new_zeros(())


def _load(clean: Tensor, noisy: Tensor, std: Tensor, top: Tensor) -> Tensor:
    """A smooth estimate of the number of pixels each expert gets (Shazeer et al., arXiv 1701.06538, appendix A).

    It is the probability that newly drawn noise makes the expert active, summed over the pixels.

    clean, noisy, std (H, W, B, experts); top (H, W, B, active + 1), the largest noisy logits -> (experts,)
    """
    last_in, first_out = top[..., -2:-1], top[..., -1:]
    threshold = torch.where(noisy > first_out, first_out, last_in)
    return torch.special.ndtr((clean - threshold) / std).sum(dim=(0, 1, 2))


def _squared_variation(x: Tensor) -> Tensor:
    """Squared coefficient of variation of a vector: 0 when all elements are equal."""
    return x.var() / (x.mean() ** 2 + 1e-10)


class ChannelRouter(nn.Module):
    """x + (x · gamma + beta) · sigmoid(linear(instruction)), for every channel."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.instruct = nn.Linear(width, channels)

    def forward(self, x: Tensor, instruction: Tensor) -> Tensor:
        """x (B, C, H, W), instruction (B, width) -> (B, C, H, W)."""
        weight = torch.sigmoid(self.instruct(instruction))[:, :, None, None]  # (B, C, 1, 1)
        return x + (x * self.gamma[:, None, None] + self.beta[:, None, None]) * weight


class NoChannelRouter(nn.Module):
    """In place of `ChannelRouter` in the ablation: features pass unchanged."""

    def forward(self, x: Tensor, instruction: Tensor) -> Tensor:
        """x (B, C, H, W), instruction (B, width) -> x."""
        return x
