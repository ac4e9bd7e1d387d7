"""Weights by name or file: found, checked, and brought to the device that is to do the work."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medley.errors import MedleyError
from medley.models import weights
from medley.models.weights import Description

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Loaded:
    """A network with its weights on a device, what they say of themselves, and the SHA-256 of their file."""

    model: torch.nn.Module
    description: Description
    sha256: str


def find(name_or_path: str | Path) -> Path:
    """The weights file of a packaged name ("tat-tiny") or a path (.safetensors); an existing path wins.

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
            f"{', '.join(packaged) if packaged else 'of which there are none'}"
        )
    return packaged[str(name_or_path)]


def load(name_or_path: str | Path, device: str | torch.device = "cpu") -> Loaded:
    """The network of a packaged name or a weights file, in evaluation mode on a device.

    Raises
    ------
    MedleyError: neither a packaged name nor a file; a damaged file; a device that is not there.
    """
    path = find(name_or_path)
    model, description = weights.load(path)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        return Loaded(model.to(device), description, sha256)
    except (RuntimeError, AssertionError) as error:  # torch raises either when it was built without the device
        reason = str(error).splitlines()[0]
        raise MedleyError(f"the device {str(device)!r} cannot be used: {reason}") from error
