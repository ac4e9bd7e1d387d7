"""An ONNX file of medley at work: it stands in for the network, run by onnxruntime on the CPU."""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medley.errors import MedleyError
from medley.models.weights import Description, described
from medley.runtime.extras import install_hint

if TYPE_CHECKING:
    import onnx

# Where a file tells what it is: the description as JSON, the SHA-256 of the weights file, that of the tensors within.
DESCRIPTION, WEIGHTS, TENSORS = "medley", "weights_sha256", "sha256"


class OnnxNetwork(nn.Module):
    """A restorer from an .onnx file that `medley.models.export` wrote, with as many threads as torch has.

    Attributes
    ----------
    description: what the file says of itself. config: of the network in it.

    Raises
    ------
    MedleyError: no ONNX file, or not one of medley; damaged; the extra `onnx` is not installed.
    """

    description: Description

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.description = describe(path)
        self.config = self.description.config
        runtime = required("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors; what else it says is for its programmers
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common parent
            reason = str(error).splitlines()[0]
            raise MedleyError(f"{path}: onnxruntime {runtime.__version__} cannot run it: {reason}") from error

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, 1, H, W), float32 on the CPU."""
        (restored,) = self._session.run(None, {"image": image.float().numpy(force=True)})
        return torch.from_numpy(restored)


def describe(path: Path) -> Description:
    """What an .onnx file says of itself; its tensors are compared with the checksum that it states.

    Raises
    ------
    MedleyError: no such file; no ONNX file, or not one of medley; damaged; the extra `onnx` is not installed.
    """
    onnx = required("onnx")
    if not path.is_file():
        raise MedleyError(f"there is no file {path}")
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's errors have no common parent
        raise MedleyError(f"{path} is not a whole ONNX file; export it again with medley export") from error
    said = {entry.key: entry.value for entry in model.metadata_props}
    if DESCRIPTION not in said:
        raise MedleyError(
            f"{path} is an ONNX file but was not written by medley: it has no description; make one with medley export"
        )
    if said.get(TENSORS) != tensors_digest(model):
        raise MedleyError(f"{path} is damaged: its tensors do not have the checksum it states; export it again")
    return described(said[DESCRIPTION], path)


def tensors_digest(model: onnx.ModelProto) -> str:
    """SHA-256 over the names, shapes, types and bytes of all tensors of an ONNX model."""
    digest = hashlib.sha256()
    for tensor in sorted(model.graph.initializer, key=lambda one: one.name):
        digest.update(f"{tensor.name} {tuple(tensor.dims)} {tensor.data_type}\n".encode())
        digest.update(tensor.raw_data)
    return digest.hexdigest()


def required(package: str) -> Any:
    """The package `onnx` or `onnxruntime`.

    Raises
    ------
    MedleyError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise MedleyError(f"ONNX needs the package {package}; {install_hint('onnx')}") from error
