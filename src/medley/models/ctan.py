"""CTAN, cross-task attention network (Kim et al., arXiv 2309.03837), in 2-D and 3-D.

The authors published no program and the paper leaves details open. Our choices are the reduced width of the task paths,
the skip connections (task features before pooling), the up path, and tokens without position encoding. `exchange` is
not in the paper: targets attend to each other in the decoders too (`medley.models._exchange`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.models._exchange import Exchange
from medley.models._paths import TaskPath, walk
from medley.models.multitask import HPS, Targets
from medley.models.resnet import Features, decoder_widths


class CTAN(HPS):
    """Targets attend to each other: in every mask (CTAE), and with all tokens at the deepest stage (CTAB).

    The arguments are those of `HPS`, and

    squeeze: ratio of the channels of the backbone to those of a target's features, see `TaskPath`.
    heads: of the attention in the bottleneck.
    cross: False removes the connections between targets: masks use the features of their own target only, and the
        bottleneck has only its feed-forward layers. With a single target it makes no difference.
    exchange: whether decoders attend to each other too; not in the paper. It has no effect with the initial weights.
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
        heads: int = 8,
        cross: bool = True,
        exchange: bool = False,
    ) -> None:
        super().__init__(
            targets=targets, dimension=dimension, channels=channels, width=width, widest=widest, blocks=blocks,
            expansion=expansion, stem=stem, norm=norm,
        )  # fmt: skip
        self.config |= {"squeeze": squeeze, "heads": heads, "cross": cross, "exchange": exchange}
        self._crosses = cross and len(targets) > 1
        self.paths = nn.ModuleDict({name: TaskPath(self.encoder, squeeze, self._crosses) for name in targets})
        widths = [outer // squeeze for outer in self.encoder.outer]
        self.bottlenecks = nn.ModuleDict(
            {name: CrossTaskBottleneck(widths[-1], heads, self._crosses) for name in targets}
        )
        self._make_decoders(widths)
        self.exchange = Exchange(self.decoders, decoder_widths(self.encoder)) if exchange and self._crosses else None

    def of_targets(self, shared: Features) -> dict[str, list[Tensor]]:
        """The maps of each target, one for each stage; the deepest includes attention to the other targets."""
        found = walk(self.paths, shared, self._crosses)
        tokens = {name: maps[-1].flatten(2).transpose(1, 2) for name, maps in found.items()}  # (B, N, width)
        for name, maps in found.items():
            others = [tokens[other] for other in found if other != name]
            x = self.bottlenecks[name](tokens[name], others)
            maps[-1] = x.transpose(1, 2).unflatten(2, maps[-1].shape[2:])
        return found

    def decode(self, shared: Features, own: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        """As `HPS.decode`; with `exchange`, all targets together."""
        return super().decode(shared, own) if self.exchange is None else self.exchange(self.decoders, shared, own)

    def shared_parameters(self) -> list[nn.Parameter]:
        """The backbone and, since each target uses the features of the others, all task paths."""
        parameters = super().shared_parameters()
        return [*parameters, *self.paths.parameters()] if self._crosses else parameters


class CrossTaskBottleneck(nn.Module):
    """Cross-task attention of one target at the deepest stage (CTAB): x += attend(x, others); x += feed(norm(x)).

    width: of a token. heads: number of attention heads. attends: False if there are no other targets.
    """

    def __init__(self, width: int, heads: int, attends: bool) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads must divide the {width} channels of a token, got {heads}")
        self.heads, self.attends = heads, attends
        if attends:
            self.query = nn.Linear(width, width)
            self.key_value = nn.Linear(width, 2 * width)
            self.project = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, own: Tensor, others: Sequence[Tensor]) -> Tensor:
        """own (B, N, width), each of the others (B, M, width) -> (B, N, width)."""
        if self.attends:
            query, key, value = self._of_heads(own, others)
            own = own + self._merged(F.scaled_dot_product_attention(query, key, value))
        return own + self.feed(own)

    def attention(self, own: Tensor, others: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The attention of every token to those of the others (B, heads, N, M), and what it adds, (B, N, width)."""
        query, key, value = self._of_heads(own, others)
        weights = (query @ key.transpose(2, 3) / query.shape[3] ** 0.5).softmax(dim=3)
        return weights, self._merged(weights @ value)

    def _of_heads(self, own: Tensor, others: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of the own tokens, keys and values of the others: (B, heads, tokens, C) each."""
        key, value = self._by_head(self.key_value(torch.cat(list(others), dim=1))).chunk(2, dim=3)
        return self._by_head(self.query(own)), key, value

    def _merged(self, attended: Tensor) -> Tensor:
        """(B, heads, N, C) -> (B, N, width)."""
        return self.project(attended.transpose(1, 2).flatten(2))

    def _by_head(self, x: Tensor) -> Tensor:
        """(B, N, heads · C) -> (B, heads, N, C)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)
