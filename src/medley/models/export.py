"""Restorers as files for other programs: ONNX, and the format of torch.export.

Both are traced from `medley.models._traceable`, work for any batch and size, and contain the description of the
network. Every file is compared with the network before it is accepted. ONNX uses the older exporter of torch, which is
based on TorchScript: the newer one gives the same results, but takes a hundred times as long to analyse the sizes.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medley.errors import MedleyError
from medley.models._onnx_depthwise import replace_custom_nodes
from medley.models._traceable import traceable
from medley.models.blocks import SMALLEST_SIDE, RestorationNetwork
from medley.models.onnx_network import DESCRIPTION, TENSORS, WEIGHTS, OnnxNetwork, required, tensors_digest
from medley.models.weights import Description

SUFFIXES = (".onnx", ".pt2")
TOLERANCE = 1e-5  # of the output, as a relative 2-norm
_OPSET = 17  # the first with layer norm
_TRACED = (2, 37, 53)  # batch, height, width; the file must not depend on this size
_AXES = {0: "batch", 2: "height", 3: "width"}

Restore = Callable[..., Tensor]  # the inputs of a `RestorationNetwork` -> (B, 1, H, W)


def write(path: Path, network: nn.Module, description: Description, sha256: str = "") -> float:
    """Write a restorer as ONNX (.onnx) or as an exported program of torch (.pt2), and compare the file with it.

    Parameters
    ----------
    path: is overwritten, also if the comparison fails: give a temporary path.
    sha256: of the weights file.

    Returns
    -------
    The largest difference between the outputs of file and network, as a relative 2-norm, for several sizes and batches.

    Raises
    ------
    MedleyError: the network is not a restorer; the extra `onnx` is not installed; the outputs differ.
    """
    if not isinstance(network, RestorationNetwork):
        raise MedleyError(f"{description.name} is not a restorer; only restorers can be exported")
    metadata = {DESCRIPTION: json.dumps(asdict(description)), WEIGHTS: sha256}
    restore: Restore
    if path.suffix == ".onnx":
        path.write_bytes(onnx_bytes(network, metadata))
        restore = OnnxNetwork(path)
    else:
        torch.export.save(program(network), path, extra_files=metadata)
        restore = torch.export.load(path).module()
    return compare(network, restore, description.name)


def onnx_bytes(network: RestorationNetwork, metadata: dict[str, str]) -> bytes:
    """The network as an ONNX model, its inputs -> "restored" (batch, 1, height, width), with its metadata."""
    onnx = required("onnx")
    buffer = io.BytesIO()
    others = network.inputs[1:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about assumptions on sizes, which `compare` checks
        torch.onnx.export(
            traceable(network),
            network.example(*_TRACED),
            buffer,  # type: ignore[arg-type]  # the older exporter can write to memory
            input_names=list(network.inputs),
            output_names=["restored"],
            dynamic_axes={network.inputs[0]: _AXES, "restored": _AXES} | {name: {0: "batch"} for name in others},
            opset_version=_OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    replace_custom_nodes(model)
    onnx.helper.set_model_props(model, metadata | {TENSORS: tensors_digest(model)})
    return model.SerializeToString()


def program(network: RestorationNetwork) -> torch.export.ExportedProgram:
    """The network as torch.export traces it: its inputs -> (batch, 1, height, width)."""
    sides = {2: torch.export.Dim("height", min=SMALLEST_SIDE), 3: torch.export.Dim("width", min=SMALLEST_SIDE)}
    batch = {0: torch.export.Dim("batch")}
    others = tuple(batch for _ in network.inputs[1:])
    shapes: dict[str, Any] = {"image": batch | sides} | ({"conditions": others} if others else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(traceable(network), network.example(*_TRACED), dynamic_shapes=shapes)


def compare(network: RestorationNetwork, restore: Restore, name: str) -> float:
    """The largest relative difference between the outputs of `restore` and of the network.

    Raises
    ------
    MedleyError: it is larger than `TOLERANCE`.
    """
    network.eval()
    worst = 0.0
    with torch.inference_mode():
        for inputs in _examples(network):
            expected = network(*inputs)
            difference = float((restore(*inputs) - expected).norm() / expected.norm())
            if not difference <= TOLERANCE:
                raise MedleyError(
                    f"the exported {name} differs from the network by {difference:.2g} for images "
                    f"{tuple(inputs[0].shape)}, where {TOLERANCE:g} is allowed; nothing was written"
                )
            worst = max(worst, difference)
    return worst


def _examples(network: RestorationNetwork) -> Iterator[tuple[Tensor, ...]]:
    """Inputs of odd and even sizes, in batches; larger than the windows of local attention, if it has some."""
    shapes = [(1, 16, 16), (3, 17, 40), (2, 70, 33)]
    window = network.config.get("window")
    if window is not None:
        shapes += [(1, window + 9, 24), (2, 16, 2 * window + 5), (1, window + 1, window + 18)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for batch, height, width in shapes:
            yield network.example(batch, max(height, SMALLEST_SIDE), max(width, SMALLEST_SIDE))
