"""Networks by name or file: found, checked, and brought to the device and the program that are to do the work."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medley.errors import MedleyError
from medley.models import weights
from medley.models.weights import Description
from medley.runtime.text import did_you_mean

if TYPE_CHECKING:
    import torch


BACKENDS = ("torch", "onnx")
_ONNX = ".onnx"


@dataclass(frozen=True)
class Loaded:
    """A network with its weights on a device, what they say of themselves, and the SHA-256 of the file it came from."""

    model: torch.nn.Module
    description: Description
    sha256: str


def find(name_or_path: str | Path) -> Path:
    """The file of a packaged name ("tat-tiny") or a path (.safetensors, .onnx); an existing path wins.

    Raises
    ------
    MedleyError: it is neither.
    """
    path = Path(name_or_path)
    if path.exists():
        return path
    packaged = weights.packaged()
    if str(name_or_path) not in packaged:
        raise MedleyError(
            f"there is no model {str(name_or_path)!r}: it is neither a file nor one of the packaged models, "
            f"{', '.join(packaged) or 'of which there are none'}{did_you_mean(str(name_or_path), packaged)}"
        )
    return packaged[str(name_or_path)]


def describe(path: Path) -> Description:
    """What a weights file, or an .onnx file of medley, says of itself.

    Raises
    ------
    MedleyError: it is neither; it is damaged.
    """
    if path.suffix != _ONNX:
        return weights.describe(path)
    from medley.models import onnx_network

    return onnx_network.describe(path)


def load(name_or_path: str | Path, device: str | torch.device = "cpu", backend: str | None = None) -> Loaded:
    """The network of a packaged name or a file, in evaluation mode on a device.

    Parameters
    ----------
    backend: what runs it: "torch", or "onnx" for onnxruntime, for which weights are exported first; None, "onnx" for
        an .onnx file and "torch" for weights.

    Raises
    ------
    MedleyError: neither a packaged name nor a file; a damaged file; a device that is not there; weights that cannot be
        exported; for "onnx" a device other than the CPU.
    """
    path = find(name_or_path)
    backend = backend_for(path, backend)
    if backend == "onnx" and str(device) != "cpu":
        raise MedleyError(f"ONNX runs on the CPU only, but the device is {str(device)!r}; leave it or the backend out")
    sha256 = _sha256(path)
    if path.suffix == _ONNX:
        from medley.models.onnx_network import OnnxNetwork

        network = OnnxNetwork(path)
        return Loaded(network, network.description, sha256)
    model, description = weights.load(path)
    if backend == "onnx":
        return Loaded(_exported(model, description, sha256), description, sha256)
    try:
        return Loaded(model.to(device), description, sha256)
    except (RuntimeError, AssertionError) as error:  # torch raises either when it was built without the device
        reason = str(error).splitlines()[0]
        raise MedleyError(f"the device {str(device)!r} cannot be used: {reason}") from error


def backend_for(name_or_path: str | Path, backend: str | None = None) -> str:
    """The backend that runs a model: as asked, or as its file is.

    Raises
    ------
    MedleyError: there is no such backend; "torch" for an .onnx file.
    """
    exported = Path(name_or_path).suffix == _ONNX
    if backend not in (None, *BACKENDS):
        raise MedleyError(f"the backend must be {' or '.join(BACKENDS)}, but is {backend!r}")
    if exported and backend == "torch":
        raise MedleyError(f"{name_or_path} is ONNX, which torch cannot run; give the weights file or the backend onnx")
    return backend or ("onnx" if exported else "torch")


def _exported(model: torch.nn.Module, description: Description, sha256: str) -> torch.nn.Module:
    """The same network in onnxruntime, by way of a temporary file that was compared with it."""
    from medley.models import export
    from medley.models.onnx_network import OnnxNetwork

    with tempfile.TemporaryDirectory(prefix="medley-") as folder:
        path = Path(folder) / f"network{_ONNX}"
        export.write(path, model, description, sha256)
        return OnnxNetwork(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
