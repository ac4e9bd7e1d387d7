"""A network in an ONNX file of medley, run by onnxruntime on the CPU."""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medley.errors import MedleyError
from medley.models.weights import Description, described, read
from medley.runtime.extras import install_hint

if TYPE_CHECKING:
    import onnx

# Keys of the metadata: the description as JSON, the SHA-256 of the weights file, that of the tensors in the file.
DESCRIPTION, WEIGHTS, TENSORS = "medley", "weights_sha256", "sha256"


class OnnxNetwork(nn.Module):
    """A restorer from an .onnx file that `medley.models.export` wrote, with as many threads as torch has.

    Attributes
    ----------
    description: the description in the file. config: of the network in it.

    Raises
    ------
    MedleyError: no ONNX file, or not one of medley; damaged; the extra `onnx` is not installed.
    """

    description: Description

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        super().__init__()
        content = read(path) if content is None else content
        self.description = _described(content, path)
        self.config = self.description.config
        runtime = required("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors only
        try:
            self._session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common parent
            reason = str(error).splitlines()[0]
            raise MedleyError(f"{path}: onnxruntime {runtime.__version__} cannot run it: {reason}") from error

    def forward(self, *inputs: Tensor) -> Tensor:
        """The inputs of the network -> (B, 1, H, W), float32 on the CPU."""
        names = [one.name for one in self._session.get_inputs()]
        values = {name: one.float().numpy(force=True) for name, one in zip(names, inputs, strict=True)}
        (restored,) = self._session.run(None, values)
        return torch.from_numpy(restored)


def describe(path: Path) -> Description:
    """The description in an .onnx file; its tensors are compared with the checksum in it.

    Raises
    ------
    MedleyError: no such file; no ONNX file, or not one of medley; damaged; the extra `onnx` is not installed.
    """
    return _described(read(path), path)


def _described(content: bytes, path: Path) -> Description:
    onnx = required("onnx")
    try:
        # From memory: a file cannot make onnx read other files (external data).
        model = onnx.load_from_string(content)
        stated = {entry.key: entry.value for entry in model.metadata_props}
        digest = tensors_digest(model)
    except Exception as error:  # protobuf's errors have no common parent
        raise MedleyError(f"{path} is not a complete ONNX file; export it again with medley export") from error
    if DESCRIPTION not in stated:
        raise MedleyError(
            f"{path} is an ONNX file but was not written by medley: it has no description; make one with medley export"
        )
    if stated.get(TENSORS) != digest:
        raise MedleyError(f"{path} is damaged: its tensors do not match the checksum in it; export it again")
    return described(stated[DESCRIPTION], path)


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
