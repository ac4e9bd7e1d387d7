"""Ends a run whose validation scores no longer improve, and keeps the weights of the best validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medley.metrics.targets import higher_is_better


class Patience:
    """The best validation so far, and the number of validations since then.

    Parameters
    ----------
    validations: number of validations without a better one after which the run ends; None: it never ends early, and
        nothing is kept.

    Attributes
    ----------
    best: {"step", "scores", "weights"} of the best validation; {} before the first.
    waited: number of validations since the best.
    """

    def __init__(self, validations: int | None) -> None:
        self.validations = validations
        self.best: dict[str, Any] = {}
        self.waited = 0

    @property
    def ended(self) -> bool:
        """Whether the run ends early."""
        return self.validations is not None and self.waited >= self.validations

    def add(self, step: int, scores: Mapping[str, float], weights: Mapping[str, Tensor]) -> None:
        """Compare a validation with the best, and copy its weights if it is better."""
        if self.validations is None:
            return
        if self.best and gain(scores, self.best["scores"]) <= 0:
            self.waited += 1
            return
        copied = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
        self.best, self.waited = {"step": step, "scores": dict(scores), "weights": copied}, 0

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"best": self.best, "waited": self.waited}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state in a checkpoint."""
        self.best, self.waited = dict(state["best"]), int(state["waited"])


def gain(scores: Mapping[str, float], best: Mapping[str, float]) -> float:
    """The mean relative change of scores, positive for an improvement; in units of the larger of both values.

    Parameters
    ----------
    scores, best: {"NAME SCORE": value} with a score of `medley.metrics.targets`; values that are not finite in one of
        them are left out.
    """
    changes = []
    for name, before in best.items():
        now = scores.get(name, math.nan)
        if math.isfinite(now) and math.isfinite(before):
            sign = 1 if higher_is_better(name.rpartition(" ")[2]) else -1
            changes.append(sign * (now - before) / max(abs(now), abs(before), 1e-12))
    return sum(changes) / len(changes) if changes else 0.0
