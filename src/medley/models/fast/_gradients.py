"""Functions with a custom backward pass, which needs fewer maps and fewer passes than autograd.

Second derivatives are not supported.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class GatedProjection(Function):
    """(gelu(gate) · value) @ weight.T; the product of the two maps is not stored for the backward pass."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, value: Tensor, weight: Tensor) -> Tensor:
        """gate and value (..., D), weight (C, D) -> (..., C)."""
        activated = F.gelu(gate)
        ctx.save_for_backward(gate, activated, value, weight)
        return F.linear(activated * value, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient of the output (..., C) -> gradients of gate, value and weight."""
        gate, activated, value, weight = ctx.saved_tensors
        # Under autocast the output, and so its gradient, is in bfloat16, but the weight is not.
        grad = grad.flatten(0, -2)
        grad_product = (grad @ weight.to(grad.dtype)).view_as(gate)
        grad_weight = grad.T @ (activated * value).flatten(0, -2)
        grad_value = activated * grad_product
        grad_gate = torch.ops.aten.gelu_backward(grad_product.mul_(value), gate)
        return grad_gate, grad_value, grad_weight.to(weight.dtype)


class Correlation(Function):
    """Sums over pixels of q_i · k_j, of q_i² and of k_j², in float32 or better whatever the type of the maps."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q and k (N, B, C) -> (B, C, C), (B, C), (B, C)."""
        ctx.save_for_backward(q, k)
        q, k = _wide(q), _wide(k)
        return torch.bmm(q.permute(1, 2, 0), k.transpose(0, 1)), (q * q).sum(0), (k * k).sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, products: Tensor, squares_q: Tensor, squares_k: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the sums (B, C, C), (B, C), (B, C) -> gradients of q and k (N, B, C)."""
        q, k = ctx.saved_tensors
        wide_q, wide_k = _wide(q), _wide(k)
        grad_q, grad_k = wide_q * (2 * squares_q), wide_k * (2 * squares_k)
        grad_q.transpose(0, 1).baddbmm_(wide_k.transpose(0, 1), products.transpose(1, 2))
        grad_k.transpose(0, 1).baddbmm_(wide_q.transpose(0, 1), products)
        return grad_q.to(q.dtype), grad_k.to(k.dtype)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
