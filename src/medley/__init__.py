"""medley: one network restores MR, CT and PET scans; one network predicts several things from one scan."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from medley.errors import MedleyError
    from medley.inference.catalogue import list_models, list_tasks
    from medley.inference.loading import load
    from medley.io.files import read, write
    from medley.metrics.image import score
    from medley.models.convert import convert_original
    from medley.models.zoo import create_model
    from medley.runtime.plugins import load_plugins
    from medley.volume import Volume

# The public names and their modules, which are imported at first use: `import medley` is fast and loads no torch.
_PUBLIC = {
    "MedleyError": "medley.errors",
    "Volume": "medley.volume",
    "convert_original": "medley.models.convert",
    "create_model": "medley.models.zoo",
    "list_models": "medley.inference.catalogue",
    "list_tasks": "medley.inference.catalogue",
    "load": "medley.inference.loading",
    "load_plugins": "medley.runtime.plugins",
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
    "list_models",
    "list_tasks",
    "load",
    "load_plugins",
    "read",
    "score",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'medley' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
