"""Restorers as files for other programs: ONNX, and what torch.export saves.

Both are traced from `medley.models._traceable`, hold for any batch and size, and carry the network's description. Every
file is compared with the network before it counts as written. ONNX goes through torch's older, TorchScript-based
exporter: the newer one gives the same answers, but takes a hundred times as long to reason about the sizes.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from medley.errors import MedleyError
from medley.models._onnx_depthwise import spell_out
from medley.models._traceable import traceable
from medley.models.blocks import SMALLEST_SIDE, Trunk
from medley.models.onnx_network import DESCRIPTION, TENSORS, WEIGHTS, OnnxNetwork, required, tensors_digest
from medley.models.weights import Description

SUFFIXES = (".onnx", ".pt2")
TOLERANCE = 1e-5  # of the answer, as a relative 2-norm
_OPSET = 17  # the first with layer norm
_TRACED = (2, 1, 37, 53)  # nothing about this size shall be in the file
_AXES = {0: "batch", 2: "height", 3: "width"}

Answer = Callable[[Tensor], Tensor]  # (B, 1, H, W) -> (B, 1, H, W)


def write(path: Path, network: nn.Module, description: Description, sha256: str = "") -> float:
    """Write a restorer as ONNX (.onnx) or as an exported program of torch (.pt2), and compare the file with it.

    Parameters
    ----------
    path: is overwritten, and left as it is if the comparison fails: give a temporary place.
    sha256: of the weights file.

    Returns
    -------
    The largest difference of the file's answer to the network's, as a relative 2-norm, at several sizes and batches.

    Raises
    ------
    MedleyError: the network is no restorer; the extra `onnx` is not installed; the file does not give the same.
    """
    if not isinstance(network, Trunk):
        raise MedleyError(
            f"{description.name} predicts and does not restore; only restorers (tat, amir, restormer) can be exported"
        )
    said = {DESCRIPTION: json.dumps(asdict(description)), WEIGHTS: sha256}
    answer: Answer
    if path.suffix == ".onnx":
        path.write_bytes(onnx_bytes(network, said))
        answer = OnnxNetwork(path)
    else:
        torch.export.save(program(network), path, extra_files=said)
        answer = torch.export.load(path).module()
    return compare(network, answer, description.name)


def onnx_bytes(network: Trunk, said: dict[str, str]) -> bytes:
    """The network as an ONNX model, "image" (batch, 1, height, width) -> "restored", with `said` as its metadata."""
    onnx = required("onnx")
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what the exporter assumes of sizes: `compare` sees whether it is right
        torch.onnx.export(
            traceable(network),
            (torch.rand(_TRACED),),
            made,  # type: ignore[arg-type]  # the older exporter writes into memory too
            input_names=["image"],
            output_names=["restored"],
            dynamic_axes={"image": _AXES, "restored": _AXES},
            opset_version=_OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(made.getvalue())
    spell_out(model)
    onnx.helper.set_model_props(model, said | {TENSORS: tensors_digest(model)})
    return model.SerializeToString()


def program(network: Trunk) -> torch.export.ExportedProgram:
    """The network as torch.export traces it: image (batch, 1, height, width) -> the same."""
    sides = {2: torch.export.Dim("height", min=SMALLEST_SIDE), 3: torch.export.Dim("width", min=SMALLEST_SIDE)}
    shapes = ({0: torch.export.Dim("batch"), **sides},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(traceable(network), (torch.rand(_TRACED),), dynamic_shapes=shapes)


def compare(network: Trunk, answer: Answer, name: str) -> float:
    """The largest relative difference of `answer` to the network's.

    Raises
    ------
    MedleyError: it is larger than `TOLERANCE`.
    """
    network.eval()
    worst = 0.0
    with torch.inference_mode():
        for image in _images(network):
            expected = network(image)
            difference = float((answer(image) - expected).norm() / expected.norm())
            if not difference <= TOLERANCE:
                raise MedleyError(
                    f"the exported {name} differs from the network by {difference:.2g} for images "
                    f"{tuple(image.shape)}, where {TOLERANCE:g} is allowed; nothing was written"
                )
            worst = max(worst, difference)
    return worst


def _images(network: Trunk) -> Iterator[Tensor]:
    """Images of odd and even sizes, in batches; larger than the windows of local attention, where there are some."""
    shapes = [(1, 16, 16), (3, 17, 40), (2, 70, 33)]
    window = network.config.get("window")
    if window is not None:
        shapes += [(1, window + 9, 24), (2, 16, 2 * window + 5), (1, window + 1, window + 18)]
    generator = torch.Generator().manual_seed(0)
    for batch, height, width in shapes:
        yield torch.rand((batch, 1, max(height, SMALLEST_SIDE), max(width, SMALLEST_SIDE)), generator=generator)
