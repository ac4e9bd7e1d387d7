"""medley: one network restores MR, CT and PET scans; one network predicts several things from one scan."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from medley.errors import MedleyError
    from medley.inference.predictor import Predictor
    from medley.inference.restorer import Restorer
    from medley.io.files import read, write
    from medley.metrics.image import score
    from medley.models.convert import convert_original
    from medley.models.zoo import create_model
    from medley.volume import Volume

# The public face, each name with the module it comes from; imported when first asked for, so that `import medley`
# takes no time and needs no torch.
_PUBLIC = {
    "MedleyError": "medley.errors",
    "Volume": "medley.volume",
    "convert_original": "medley.models.convert",
    "create_model": "medley.models.zoo",
    "read": "medley.io.files",
    "score": "medley.metrics.image",
    "write": "medley.io.files",
}

__all__ = [
    "MedleyError",
    "Volume",
    "__version__",
    "convert_original",
    "create_model",
    "load",
    "read",
    "score",
    "write",
]


def load(
    name_or_path: str | Path, *, device: str | torch.device = "cpu", precision: str = "float32"
) -> Restorer | Predictor:
    """A `Restorer` or a `Predictor`, as the weights are: of a packaged name, such as "tat-tiny", or a file.

    A file is one of weights (.safetensors), or one that `medley export` made (.onnx) and onnxruntime runs.

    `precision` "bfloat16" is for restorers: less memory, and less time where the processor has it.

    Raises
    ------
    MedleyError: neither a packaged name nor a file; a damaged file; a device that is not there; another precision
        than float32 for a predictor.
    """
    from medley.errors import MedleyError
    from medley.models import loading

    if not loading.describe(loading.find(name_or_path)).problem:
        return import_module("medley.inference.restorer").load(name_or_path, device=device, precision=precision)
    if precision != "float32":
        raise MedleyError(f"{name_or_path} predicts, and networks that predict work in float32 only, not {precision}")
    return import_module("medley.inference.predictor").load(name_or_path, device=device)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'medley' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
