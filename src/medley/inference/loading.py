"""Loads a network by name or file as a `Restorer` or a `Predictor`, depending on its description."""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from medley.errors import MedleyError
from medley.inference.predictor import Predictor
from medley.inference.restorer import Restorer
from medley.models import weights
from medley.models.weights import Description
from medley.runtime.text import did_you_mean

BACKENDS = ("torch", "onnx")
_ONNX = ".onnx"


@dataclass(frozen=True)
class Loaded:
    """A network in evaluation mode on a device, its description, and the SHA-256 of the file it came from."""

    model: torch.nn.Module
    description: Description
    sha256: str


def load(
    name_or_path: str | Path,
    *,
    device: str | torch.device = "auto",
    precision: str = "float32",
    backend: str | None = None,
) -> Restorer | Predictor:
    """A restorer or a predictor, depending on the description in the file.

    Parameters
    ----------
    name_or_path: a packaged name, such as "tat-tiny", or a file: weights (.safetensors) or an exported network (.onnx).
    device: "cpu", "cuda", ...; "auto" is "cuda" if it can be used, else "cpu".
    precision: "float32", or "bfloat16" for restorers: less memory, and less time if the processor supports it; PSNR
        changes by less than 0.02 dB.
    backend: "torch" or "onnx" (onnxruntime, on the CPU, for which weights are exported first); None: as the file is.

    Raises
    ------
    MedleyError: the model is neither a packaged name nor a file; a damaged file; a device that cannot be used; no such
        precision or backend; bfloat16 for a predictor or with onnxruntime; weights that cannot be exported.
    """
    path = find(name_or_path)
    chosen = backend_for(path, backend)
    if precision != "float32" and chosen == "onnx":
        raise MedleyError(f"onnxruntime works in float32, but the precision is {precision}; choose one of the two")
    loaded = load_network(path, device, backend)
    device = torch.device("cpu") if chosen == "onnx" else usable_device(device)
    if not loaded.description.task:
        return Restorer(loaded.model, loaded.description, device, loaded.sha256, precision)
    if precision != "float32":
        raise MedleyError(f"{name_or_path} predicts, and networks that predict work in float32 only, not {precision}")
    return Predictor(loaded.model, loaded.description, device, loaded.sha256)


def load_restorer(
    name_or_path: str | Path,
    *,
    device: str | torch.device = "auto",
    precision: str = "float32",
    backend: str | None = None,
) -> Restorer:
    """As `load`, for a network that restores; any other raises a MedleyError."""
    _check_kind(name_or_path, predicts=False)
    loaded = load(name_or_path, device=device, precision=precision, backend=backend)
    assert isinstance(loaded, Restorer)
    return loaded


def load_predictor(name_or_path: str | Path, *, device: str | torch.device = "auto") -> Predictor:
    """As `load`, for a network that predicts; any other raises a MedleyError."""
    _check_kind(name_or_path, predicts=True)
    loaded = load(name_or_path, device=device)
    assert isinstance(loaded, Predictor)
    return loaded


def load_network(name_or_path: str | Path, device: str | torch.device = "auto", backend: str | None = None) -> Loaded:
    """The bare network of a packaged name or a file; parameters and errors as in `load`. The file is read once."""
    path = find(name_or_path)
    backend = backend_for(path, backend)
    if backend == "onnx" and str(device) not in ("cpu", "auto"):
        raise MedleyError(f"ONNX runs on the CPU only, but the device is {str(device)!r}; omit it or the backend")
    content = weights.read(path)
    sha256 = hashlib.sha256(content).hexdigest()
    if path.suffix == _ONNX:
        from medley.models.onnx_network import OnnxNetwork

        network = OnnxNetwork(path, content)
        return Loaded(network, network.description, sha256)
    model, description = weights.parse(content, path)
    del content
    if backend == "onnx":
        return Loaded(_exported(model, description, sha256), description, sha256)
    device = usable_device(device)
    try:
        return Loaded(model.to(device), description, sha256)
    except (RuntimeError, AssertionError) as error:  # torch raises either if it was built without the device
        raise MedleyError(f"the device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from error


def find(name_or_path: str | Path) -> Path:
    """The file of a packaged name ("tat-tiny") or a path (.safetensors, .onnx); a file takes precedence.

    Raises
    ------
    MedleyError: it is neither.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    packaged = weights.packaged()
    if str(name_or_path) in packaged:
        return packaged[str(name_or_path)]
    known = f"the packaged models are {', '.join(packaged)}" if packaged else "there are no packaged models"
    problem = "it is a folder" if path.is_dir() else "it is neither a file nor a packaged model"
    suggestion = did_you_mean(str(name_or_path), packaged)
    raise MedleyError(f"there is no model {str(name_or_path)!r}: {problem}; {known}{suggestion}")


def describe(path: Path) -> Description:
    """The description in a weights file or an .onnx file of medley.

    Raises
    ------
    MedleyError: it is neither, or it is damaged.
    """
    if path.suffix != _ONNX:
        return weights.describe(path)
    from medley.models import onnx_network

    return onnx_network.describe(path)


def backend_for(name_or_path: str | Path, backend: str | None = None) -> str:
    """The backend that runs a model: the given one, or the one that its file is made for.

    Raises
    ------
    MedleyError: there is no such backend, or "torch" for an .onnx file.
    """
    exported = Path(name_or_path).suffix == _ONNX
    if backend not in (None, *BACKENDS):
        raise MedleyError(f"the backend must be {' or '.join(BACKENDS)}, but is {backend!r}")
    if exported and backend == "torch":
        raise MedleyError(
            f"{name_or_path} is an ONNX file, which torch cannot run; give the weights file or the backend onnx"
        )
    return backend or ("onnx" if exported else "torch")


def usable_device(device: str | torch.device) -> torch.device:
    """The device of a name; "auto" is "cuda" if a GPU can be used, else "cpu".

    Raises
    ------
    MedleyError: torch does not know a device of this name.
    """
    if str(device) == "auto":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a driver that is too old: then there is no GPU
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise MedleyError(f"there is no device {str(device)!r} ({reason}); use auto, cpu or cuda") from error


def _check_kind(name_or_path: str | Path, predicts: bool) -> None:
    description = describe(find(name_or_path))
    if bool(description.task) == predicts:
        return
    tasks = ", ".join(description.tasks)
    if predicts:
        raise MedleyError(
            f"{description.name} does not predict, it restores scans ({tasks}); use medley restore, or medley.load"
        )
    raise MedleyError(
        f"{description.name} does not restore scans, it predicts {tasks}; use medley predict, or medley.load"
    )


def _exported(model: torch.nn.Module, description: Description, sha256: str) -> torch.nn.Module:
    """The same network in onnxruntime, from a temporary file that was compared with it."""
    from medley.models import export
    from medley.models.onnx_network import OnnxNetwork

    with tempfile.TemporaryDirectory(prefix="medley-") as folder:
        path = Path(folder) / f"network{_ONNX}"
        export.write(path, model, description, sha256)
        return OnnxNetwork(path)
