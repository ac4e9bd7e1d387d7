"""A depthwise convolution with kernels of its own for every sample, for ONNX.

ONNX states the number of groups of a convolution, but with B samples of D channels there would be B·D. So the tracer
writes a node of medley's own, which `spell_out` makes a loop over the samples (Scan), each a convolution of D groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    import onnx

_DOMAIN, _NAME = "medley", "DepthwisePerSample"


class DepthwisePerSample(torch.autograd.Function):
    """x (B, D, H, W), kernel (B, D, 1, 3, 3) -> (B, D, H, W), zero padding, in a trace for ONNX and nowhere else."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, channels: int) -> Tensor:
        """Something of the right shape: of a trace nothing else is kept."""
        return torch.zeros_like(x)

    @staticmethod
    def symbolic(graph: Any, x: Any, kernel: Any, channels: int) -> Any:
        """The node that stands for it."""
        return graph.op(f"{_DOMAIN}::{_NAME}", x, kernel, channels_i=channels).setType(x.type())


def spell_out(model: onnx.ModelProto) -> None:
    """Replace every node of medley's own by a loop over the samples, in place: a file that any runtime can read."""
    for node in model.graph.node:
        if node.domain == _DOMAIN:
            node.CopyFrom(_loop(node))
    known = [one for one in model.opset_import if one.domain != _DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(known)


def _loop(node: onnx.NodeProto) -> onnx.NodeProto:
    import onnx
    from onnx import helper

    channels = node.attribute[0].i
    x, kernel, answer = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (
            ("sample", [channels, None, None]),
            ("kernel", [channels, 1, 3, 3]),
            ("answer", [channels, None, None]),
        )
    )
    body = [
        helper.make_node("Constant", [], ["first"], value_ints=[0]),
        helper.make_node("Unsqueeze", ["sample", "first"], ["alone"]),
        helper.make_node("Conv", ["alone", "kernel"], ["made"], group=channels, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Squeeze", ["made", "first"], ["answer"]),
    ]
    loop = helper.make_graph(body, "one_sample", [x, kernel], [answer])
    return helper.make_node("Scan", node.input, node.output, name=node.name, body=loop, num_scan_inputs=2)
