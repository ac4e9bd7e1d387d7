"""A depthwise convolution with separate kernels for every sample, for ONNX.

In ONNX the number of groups of a convolution is a constant, but for B samples of D channels it would have to be B·D.
Tracing writes a custom node, which `replace_custom_nodes` replaces by a loop over the samples (Scan) of convolutions
with D groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    import onnx

_DOMAIN, _NAME = "medley", "DepthwisePerSample"


class DepthwisePerSample(torch.autograd.Function):
    """x (B, D, H, W), kernel (B, D, 1, 3, 3) -> (B, D, H, W), zero padding; only used while tracing for ONNX."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, channels: int) -> Tensor:
        """A tensor of the right shape: tracing uses nothing else."""
        return torch.zeros_like(x)

    @staticmethod
    def symbolic(graph: Any, x: Any, kernel: Any, channels: int) -> Any:
        """The custom node."""
        return graph.op(f"{_DOMAIN}::{_NAME}", x, kernel, channels_i=channels).setType(x.type())


def replace_custom_nodes(model: onnx.ModelProto) -> None:
    """Replace every custom node by a loop over the samples, in place, so that any runtime can read the file."""
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
    x, kernel, output = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (
            ("sample", [channels, None, None]),
            ("kernel", [channels, 1, 3, 3]),
            ("output", [channels, None, None]),
        )
    )
    body = [
        helper.make_node("Constant", [], ["first"], value_ints=[0]),
        helper.make_node("Unsqueeze", ["sample", "first"], ["batch"]),
        helper.make_node(
            "Conv", ["batch", "kernel"], ["convolved"], group=channels, kernel_shape=[3, 3], pads=[1, 1, 1, 1]
        ),
        helper.make_node("Squeeze", ["convolved", "first"], ["output"]),
    ]
    loop = helper.make_graph(body, "one_sample", [x, kernel], [output])
    return helper.make_node("Scan", node.input, node.output, name=node.name, body=loop, num_scan_inputs=2)
