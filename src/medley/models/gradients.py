"""Pieces of the networks whose backward pass is written out: the same gradients from fewer maps and fewer passes.

A gradient of a gradient is not among what they give.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class GatedProjection(Function):
    """(gelu(gate) · value) @ weight.T, for the backward pass of which three maps are kept and the product is not."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, value: Tensor, weight: Tensor) -> Tensor:
        """gate and value (..., D), weight (C, D) -> (..., C)."""
        opened = F.gelu(gate)
        ctx.save_for_backward(gate, opened, value, weight)
        return F.linear(opened * value, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the answer (..., C) -> of gate, value and weight."""
        gate, opened, value, weight = ctx.saved_tensors
        # Under autocast the answer, and so its gradient, is in bfloat16, and the weight is not.
        grad = grad.flatten(0, -2)
        of_product = (grad @ weight.to(grad.dtype)).view_as(gate)
        of_weight = grad.T @ (opened * value).flatten(0, -2)
        of_value = opened * of_product
        of_gate = torch.ops.aten.gelu_backward(of_product.mul_(value), gate)
        return of_gate, of_value, of_weight.to(weight.dtype)


class Correlation(Function):
    """Sums over pixels of q_i · k_j, of q_i² and of k_j², in float32 at least, whatever the maps are in."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q and k (N, B, C) -> (B, C, C), (B, C), (B, C)."""
        ctx.save_for_backward(q, k)
        q, k = _wide(q), _wide(k)
        return torch.bmm(q.permute(1, 2, 0), k.transpose(0, 1)), (q * q).sum(0), (k * k).sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, products: Tensor, squares_q: Tensor, squares_k: Tensor) -> tuple[Tensor, Tensor]:
        """Of the sums (B, C, C), (B, C), (B, C) -> of q and k (N, B, C)."""
        q, k = ctx.saved_tensors
        wide_q, wide_k = _wide(q), _wide(k)
        of_q, of_k = wide_q * (2 * squares_q), wide_k * (2 * squares_k)
        of_q.transpose(0, 1).baddbmm_(wide_k.transpose(0, 1), products.transpose(1, 2))
        of_k.transpose(0, 1).baddbmm_(wide_q.transpose(0, 1), products)
        return of_q.to(q.dtype), of_k.to(k.dtype)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
