"""AMIR, all-in-one medical image restoration with task-adaptive routing (arXiv 2405.19769).

A routing instruction, read from the input image, sends every pixel through two of four small experts in the encoder
(spatial routing) and weighs the channels in the decoder (channel routing).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.models.blocks import Conv, Trunk

_INSTRUCTION_WIDTH = 64
_LEAK = 0.1  # of the leaky ReLUs
_AUXILIARY_WEIGHT = 0.001
_GRAINS = 16  # of the pixels of a pass: numbers that come again, since for each new one code is generated in bfloat16


class AMIR(Trunk):
    """Task-adaptive routing; the defaults are the paper's, 23.54 M parameters.

    Parameters
    ----------
    dim, blocks, refinement, heads, expansion: as in `Trunk`; the experts have the feed-forward nets' expansion.
    experts, active: how many experts a spatial router has, and to how many of them a pixel goes.
    atoms, dictionary_width: of the dictionary of instructions.

    After a forward pass in training mode `auxiliary_loss` holds a scalar to be added to the loss: it keeps the experts
    equally busy, and its weight of 0.001 is in it. It is None otherwise.
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
    ) -> None:
        super().__init__(dim, blocks, refinement, heads, expansion)
        self.config |= {"experts": experts, "active": active, "atoms": atoms, "dictionary_width": dictionary_width}
        self.auxiliary_loss: Tensor | None = None
        self.instruction = RoutingInstruction(atoms, dictionary_width)
        self.spatial1, self.spatial2, self.spatial3 = (
            SpatialRouter(channels, dictionary_width, expansion, experts, active)
            for channels in (dim, 2 * dim, 4 * dim)
        )
        self.channel4, self.channel3, self.channel2, self.channel1 = (
            ChannelRouter(channels, dictionary_width) for channels in (8 * dim, 4 * dim, 2 * dim, 2 * dim)
        )
        self.output = Conv(2 * dim, 1)

    def residual(self, image: Tensor) -> Tensor:
        """(H, W, B, 1) -> (H, W, B, 1), sides multiples of 8."""
        told = self.instruction(image)
        x, imbalance1 = self.spatial1(self.embed(image), told)
        level1 = self.encoder1(x)
        x, imbalance2 = self.spatial2(self.down1(level1), told)
        level2 = self.encoder2(x)
        x, imbalance3 = self.spatial3(self.down2(level2), told)
        level3 = self.encoder3(x)
        x = self.latent(self.channel4(self.down3(level3), told))
        x = self.reduce3(torch.cat([self.up3(x), level3], dim=3))
        x = self.decoder3(self.channel3(x, told))
        x = self.reduce2(torch.cat([self.up2(x), level2], dim=3))
        x = self.decoder2(self.channel2(x, told))
        x = torch.cat([self.up1(x), level1], dim=3)
        x = self.decoder1(self.channel1(x, told))
        self.auxiliary_loss = _AUXILIARY_WEIGHT * (imbalance1 + imbalance2 + imbalance3) if self.training else None
        return self.output(self.refinement(x))

    def __getstate__(self) -> dict[str, Any]:
        """The loss belongs to a pass, not to the network: copies are made without it."""
        return self.__dict__ | {"auxiliary_loss": None}


class RoutingInstruction(nn.Module):
    """What kind of image is this? A mixture of learnt atoms, (H, W, B, 1) -> (B, width)."""

    def __init__(self, atoms: int, width: int) -> None:
        super().__init__()
        channels = _INSTRUCTION_WIDTH
        self.encode = nn.Sequential(
            Conv(1, channels, stride=3, padding=0, bias=True),
            nn.LeakyReLU(_LEAK),
            Conv(channels, channels, stride=3, padding=0, bias=True),
            nn.LeakyReLU(_LEAK),
            nn.Linear(channels, channels),
            nn.LeakyReLU(_LEAK),
            nn.Linear(channels, channels),
            nn.LeakyReLU(_LEAK),
            nn.Linear(channels, atoms),
        )
        self.weigh = nn.Linear(atoms, atoms)
        self.dictionary = nn.Parameter(torch.randn(atoms, width))

    def forward(self, image: Tensor) -> Tensor:
        """(H, W, B, 1) -> (B, width)."""
        weights = self.weigh(self.encode(image).mean(dim=(0, 1))).softmax(dim=1)  # (B, atoms)
        return F.gelu(weights @ self.dictionary)


class SpatialRouter(nn.Module):
    """Every pixel goes through the few experts its gate picks: x + log Σ_e g_e · exp(expert_e(x))."""

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
            nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels)) for _ in range(experts)
        )

    def forward(self, x: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """x (H, W, B, C), told (B, width) -> (H, W, B, C), and how unequally the experts are used (0 in evaluation)."""
        with torch.autocast(x.device.type, enabled=False):  # a rounded logit would send pixels to other experts
            told = self.instruct(told.to(self.gate.dtype))  # (B, C)
            chosen, log_gates, imbalance = self._route(x.to(told.dtype), told)
        pixels = x.flatten(0, 2)  # (H·W·B, C)
        # Sorted by expert, the pixels of one expert lie together: one matrix product each.
        order = chosen.flatten().argsort(stable=True)  # (pixels · active,)
        counts = chosen.flatten().bincount(minlength=len(self.experts)).tolist()
        parts = pixels[order // self.active].split(counts)
        answers = torch.cat([_in_grains(*one, len(pixels) // _GRAINS) for one in zip(self.experts, parts, strict=True)])
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        answers = answers[back].unflatten(0, (-1, self.active))  # (pixels, active, C)
        # log Σ g·exp(answer) = logsumexp(answer + log g), which cannot overflow.
        mixed = torch.logsumexp(answers.to(log_gates.dtype) + log_gates.unsqueeze(2), dim=1)
        return x + mixed.view_as(x).to(x.dtype), imbalance

    def _route(self, x: Tensor, told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The experts of every pixel and the logarithms of their gates, (pixels, active) each; the imbalance."""
        clean = self._project(x, told, self.gate)  # (pixels, experts)
        if not self.training:
            top, chosen = clean.topk(self.active, dim=1)
            return chosen, top.log_softmax(dim=1), clean.new_zeros(())
        std = F.softplus(self._project(x, told, self.noise)) + 0.01
        noisy = clean + torch.randn_like(clean) * std
        top, chosen = noisy.topk(self.active + 1, dim=1)
        chosen, log_gates = chosen[:, :-1], top[:, :-1].log_softmax(dim=1)
        importance = torch.zeros_like(clean).scatter(1, chosen, log_gates.exp()).sum(dim=0)
        imbalance = _squared_variation(importance) + _squared_variation(_load(clean, noisy, std, top))
        return chosen, log_gates, imbalance

    @staticmethod
    def _project(x: Tensor, told: Tensor, weight: Tensor) -> Tensor:
        """[x, instruction] @ weight without putting the two together: (H·W·B, experts)."""
        for_x, for_told = weight.chunk(2)
        return (x @ for_x + told @ for_told).flatten(0, 2)


def _in_grains(expert: nn.Module, pixels: Tensor, grain: int) -> Tensor:
    """The expert's answers (N, C) to pixels (N, C), computed for a multiple of `grain` pixels."""
    return expert(F.pad(pixels, (0, 0, 0, -len(pixels) % grain)))[: len(pixels)]


def _load(clean: Tensor, noisy: Tensor, std: Tensor, top: Tensor) -> Tensor:
    """How many pixels each expert would get, as a smooth function of the logits (Shazeer et al., arXiv 1701.06538,
    appendix A): the probability that fresh noise would put it among the active ones, summed over the pixels.

    clean, noisy, std (pixels, experts); top (pixels, active + 1), the largest noisy logits -> (experts,)
    """
    last_in, first_out = top[:, -2:-1], top[:, -1:]
    threshold = torch.where(noisy > first_out, first_out, last_in)
    return torch.special.ndtr((clean - threshold) / std).sum(dim=0)


def _squared_variation(x: Tensor) -> Tensor:
    """Squared coefficient of variation of a vector: 0 when all are equal."""
    return x.var() / (x.mean() ** 2 + 1e-10)


class ChannelRouter(nn.Module):
    """x + (x · gamma + beta) · sigmoid(linear(instruction)), per channel."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.instruct = nn.Linear(width, channels)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """x (H, W, B, C), told (B, width) -> (H, W, B, C)."""
        weight = torch.sigmoid(self.instruct(told))  # (B, C)
        return x + (x * self.gamma + self.beta) * weight
