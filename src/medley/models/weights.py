"""Weights files: safetensors that carry their own description. `describe` and `packaged` load no torch."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from medley.errors import MedleyError
from medley.models.zoo import create_model

if TYPE_CHECKING:
    from torch import Tensor, nn

SUFFIX = ".safetensors"
_PACKAGED = Path(__file__).parents[1] / "packaged"

# Keys of the safetensors metadata, whose values are strings: the description as JSON, and the digest of the tensors.
_DESCRIPTION = "medley"
_DIGEST = "sha256"


@dataclass(frozen=True)
class Description:
    """What a weights file says of itself.

    Attributes
    ----------
    name: of these weights, such as "tat-tiny".
    architecture: the network's name in `zoo`.
    config: the arguments it was made with, all of them.
    tasks: names of the tasks it was trained for.
    training: how it was trained: recipe, steps, data, scores; plain JSON values.
    version: of medley that wrote the file.
    problem: of the data set that a multi-task network learnt from, a `medley.problems.Problem` as plain JSON; of its
        targets, `tasks` names those that were learnt. {} for a restorer.
    inputs: what the network's channels are, in order: "image" and names of stored masks; () for a restorer.
    """

    name: str
    architecture: str
    config: Mapping[str, Any]
    tasks: tuple[str, ...]
    training: Mapping[str, Any]
    version: str
    problem: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()


def save(path: str | Path, model: nn.Module, description: Description) -> None:
    """Write the weights of a network with their description, whole or not at all; an older file is replaced."""
    from safetensors.torch import save_file

    path = Path(path)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    metadata = {_DESCRIPTION: json.dumps(asdict(description)), _DIGEST: _digest(tensors)}
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=SUFFIX)
    os.close(handle)
    try:
        save_file(tensors, partial, metadata=metadata)
        os.chmod(partial, 0o644)  # mkstemp's files are for their owner only
        os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)


def load(path: str | Path) -> tuple[nn.Module, Description]:
    """The network of a weights file, in evaluation mode, and its description.

    Raises
    ------
    MedleyError: no such file; not a weights file of medley; damaged; of a network this medley does not know.
    """
    import torch
    from safetensors.torch import load_file

    description = describe(path)
    tensors = load_file(path)
    with safe_open(path, "np") as file:
        if file.metadata().get(_DIGEST) != _digest(tensors):
            raise MedleyError(f"{path} is damaged: its tensors do not have the checksum it states; fetch it again")
    try:
        with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
            model = create_model(description.architecture, **description.config)
        model.load_state_dict(tensors, assign=True)
    except (MedleyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise MedleyError(
            f"{path} holds no {description.architecture} of its stated configuration: {reason}"
        ) from error
    return model.eval(), description


def describe(path: str | Path) -> Description:
    """What a weights file says of itself; only its header is read.

    Raises
    ------
    MedleyError: no such file; not a weights file of medley; cut short.
    """
    if not Path(path).is_file():
        raise MedleyError(f"there is no weights file {path}")
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise MedleyError(f"{path} is not a whole safetensors file ({error}); fetch or train it again") from error
    if _DESCRIPTION not in metadata:
        raise MedleyError(f"{path} was not written by medley: it has no description; `medley convert` may help")
    return described(metadata[_DESCRIPTION], path)


def described(text: str, path: str | Path) -> Description:
    """The description that a file at `path` carries as JSON.

    Raises
    ------
    MedleyError: it is none that this medley can read.
    """
    try:
        stated = json.loads(text)
        # Files of before a field was there lack it; one that has always been there must be.
        known = [f.name for f in fields(Description) if f.name in stated or f.default_factory is f.default is MISSING]
        values: dict[str, Any] = {name: stated[name] for name in known}
    except (ValueError, KeyError, TypeError) as error:
        raise MedleyError(f"{path} has a description that this medley cannot read ({error!r})") from error
    for name in {"tasks", "inputs"} & values.keys():
        values[name] = tuple(values[name])
    return Description(**values)


def packaged() -> dict[str, Path]:
    """The weights that come with medley: name -> file."""
    return {path.stem: path for path in sorted(_PACKAGED.glob(f"*{SUFFIX}"))}


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, shapes, types and bytes of all tensors, in the order of their names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
