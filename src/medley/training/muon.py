"""The Muon optimizer (K. Jordan et al., 2024, "Muon: an optimizer for hidden layers in neural networks").

`torch.optim.Muon` accepts matrices only and is missing in older torch; most weights of a restorer are convolution
kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic Newton-Schulz polynomial
_ITERATIONS = 5
_ADAMW_RMS = 0.2  # root mean square of a typical AdamW update, in units of the learning rate


class Muon(torch.optim.Optimizer):
    """Muon for parameter groups with `muon` true, AdamW for the others, in one optimizer with one state.

    Muon: g + μ (b - g), with b ← b + (1 - μ)(g - b), is made nearly orthogonal and scaled by 0.2 √max(rows, columns),
    so that its root mean square is about that of AdamW (Liu et al., arXiv 2502.16982) and both share a learning rate.
    In groups with `scaled` false it is not scaled, as in the program of UniH3. A kernel (output, input, ...) is treated
    as a matrix (output, all others). Weight decay is decoupled.

    Parameters
    ----------
    groups: dictionaries with `params`, and optionally `muon`, `scaled`, `lr` and `weight_decay`. Parameters with `muon`
        true have at least two dimensions.
    lr: learning rate.
    betas: decay rates of AdamW's moments.
    momentum: μ.
    eps: of AdamW.

    Raises
    ------
    ValueError: a parameter in a group with `muon` true has less than two dimensions.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        momentum: float = 0.95,
        eps: float = 1e-8,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "momentum": momentum, "weight_decay": 0.0, "eps": eps}
        defaults |= {"muon": False, "scaled": True}
        super().__init__(groups, defaults)
        for group in self.param_groups:
            if group["muon"] and any(one.ndim < 2 for one in group["params"]):
                raise ValueError("Muon needs parameters of at least two dimensions")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; parameters without a gradient are unchanged."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            update = self._muon if group["muon"] else self._adamw
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    update(parameter, parameter.grad, group)
        return loss

    def _muon(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        state["momentum"].lerp_(gradient, 1 - group["momentum"])
        direction = gradient.lerp(state["momentum"], group["momentum"]).flatten(1)
        scale = _ADAMW_RMS * max(direction.shape) ** 0.5 if group["scaled"] else 1.0
        parameter.sub_(orthogonalised(direction).view_as(parameter), alpha=group["lr"] * scale)

    def _adamw(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        state["step"] += 1
        first, second = group["betas"]
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = (state["square"] / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
        parameter.addcdiv_(state["mean"], root, value=-group["lr"] / (1 - first ** state["step"]))


def orthogonalised(matrix: Tensor) -> Tensor:
    """(M, N) -> (M, N) with the same singular vectors and singular values of about 0.7 to 1.2.

    Five Newton-Schulz iterations, at least in single precision. Singular values far below the norm stay smaller; 0
    stays 0.
    """
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = wide.to(torch.promote_types(wide.dtype, torch.float32))
    x = x / (x.norm() + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide is matrix else x.T).to(matrix.dtype)
