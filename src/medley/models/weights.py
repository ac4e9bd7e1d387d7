"""Weights files: safetensors that contain their own description. `describe` and `packaged` load no torch."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from medley.errors import MedleyError
from medley.models.zoo import NETWORKS, create_model
from medley.runtime.atomic import replacing
from medley.runtime.names import check_name
from medley.tasks import TASKS

if TYPE_CHECKING:
    from torch import Tensor, nn

SUFFIX = ".safetensors"
_PACKAGED = Path(__file__).parents[1] / "packaged"

# Keys of the safetensors metadata, whose values are strings: the description as JSON, and the digest of the tensors.
_DESCRIPTION = "medley"
_DIGEST = "sha256"


@dataclass(frozen=True)
class Description:
    """The description in a weights file.

    Attributes
    ----------
    name: of these weights, such as "tat-tiny".
    architecture: name of the network in `zoo`.
    config: all arguments that the network was created with.
    tasks: names of the tasks it was trained for.
    training: how it was trained: recipe, steps, data, scores; plain JSON values.
    version: of the medley that wrote the file.
    task: of a multi-task network: the `medley.tasks.Task` of its data set as plain JSON; `tasks` then has the names of
        its targets that were trained. {} for a restorer.
    inputs: what the channels of the network are, in order: "image" and names of stored masks; () for a restorer.
    training_scans: {task: the features of its training scans}, see `medley.inference.training_scans.Stored`; {} for
        weights that do not describe them.
    expected_error: {task: its error model}, see `medley.inference.expected_error.StoredError`; {} for weights that do
        not state their expected error.
    """

    name: str
    architecture: str
    config: Mapping[str, Any]
    tasks: tuple[str, ...]
    training: Mapping[str, Any]
    version: str
    task: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    training_scans: Mapping[str, Any] = field(default_factory=dict)
    expected_error: Mapping[str, Any] = field(default_factory=dict)


def save(path: str | Path, model: nn.Module, description: Description, *, half: bool = False) -> None:
    """Write the weights of a network with their description, completely or not at all; an older file is replaced.

    Absolute paths in the description are shortened to their last part: they are of no use elsewhere.

    Parameters
    ----------
    half: store the weights in half precision (float16), in half the space. They are float32 again when they are loaded.

    Raises
    ------
    MedleyError: the system refuses to write (disk full, no permission); a weight is too large for half precision.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        tensors = {name: _halved(name, tensor) for name, tensor in tensors.items()}
    _write(Path(path), tensors, description)


def describe_anew(path: str | Path, output: str | Path, description: Description) -> None:
    """Write the tensors of a weights file, unchanged, with another description; an older `output` is replaced.

    Raises
    ------
    MedleyError: as `load` and `save`.
    """
    content = read(Path(path))
    parse(content, path)  # damaged, or not of this network
    from safetensors.torch import load as load_tensors

    _write(Path(output), load_tensors(content), description)


def _write(path: Path, tensors: Mapping[str, Tensor], description: Description) -> None:
    from safetensors.torch import save_file

    metadata = {_DESCRIPTION: json.dumps(_without_folders(asdict(description))), _DIGEST: _digest(tensors)}
    with replacing(path, overwrite=True) as temporary:
        save_file(dict(tensors), temporary, metadata=metadata)


def load(path: str | Path) -> tuple[nn.Module, Description]:
    """The network of a weights file, in evaluation mode, and its description.

    Raises
    ------
    MedleyError: no such file; not a weights file of medley; damaged; of a network this medley does not know.
    """
    return parse(read(Path(path)), path)


def read(path: Path) -> bytes:
    """The content of a file.

    Raises
    ------
    MedleyError: it does not exist or cannot be read.
    """
    if not path.is_file():
        raise MedleyError(f"there is no file {path}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise MedleyError(f"{path}: could not be read: {error.strerror}") from error


def parse(content: bytes, path: str | Path) -> tuple[nn.Module, Description]:
    """As `load`, from the content of a file; `path` is for messages only."""
    import torch
    from safetensors.torch import load as load_tensors

    try:
        stored = load_tensors(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header.get("__metadata__", {})
    except Exception as error:  # safetensors checks the structure, torch the types and shapes
        raise MedleyError(f"{path} is not a complete safetensors file ({error}); download or train it again") from error
    description = described(_description_in(metadata, path), path)
    _check_plugins(description, path)
    if metadata.get(_DIGEST) != _digest(stored):
        raise MedleyError(f"{path} is damaged: its tensors do not match the checksum in it; download it again")
    try:
        # Copied into memory of torch, which is aligned: the rounding of products depends on that.
        tensors = {name: one.float() if one.dtype == torch.float16 else one.clone() for name, one in stored.items()}
        _check_size(description.config, len(tensors))
        # No memory and no random numbers for weights that are replaced at once.
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = create_model(description.architecture, **description.config)
        model.load_state_dict(tensors, assign=True)
        if missing := [name for name, one in (*model.named_parameters(), *model.named_buffers()) if one.is_meta]:
            raise ValueError(f"{missing[0]} is not stored; register it as a persistent buffer")
    except Exception as error:  # whatever a network raises for arguments of a wrong type or value
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MedleyError(
            f"{path}: the weights do not match the stated {description.architecture} and its configuration: {reason}"
        ) from error
    return model.eval(), description


def describe(path: str | Path) -> Description:
    """The description in a weights file; only the header is read.

    Raises
    ------
    MedleyError: no such file; not a weights file of medley; truncated.
    """
    if not Path(path).is_file():
        raise MedleyError(f"there is no file {path}")
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise MedleyError(f"{path} is not a complete safetensors file ({error}); download or train it again") from error
    return described(_description_in(metadata, path), path)


def described(text: str, path: str | Path) -> Description:
    """The description from the JSON in a file at `path`.

    Raises
    ------
    MedleyError: it is not JSON, a field is missing or has the wrong type, or a name cannot be that of a file.
    """
    try:
        stated = _current(json.loads(text))
        # Older files lack fields that were added later.
        known = [f.name for f in fields(Description) if f.name in stated or f.default_factory is f.default is MISSING]
        values: dict[str, Any] = {name: _checked(name, stated[name]) for name in known}
        for name in (
            values["name"],
            *values["tasks"],
            *values.get("inputs", ()),
            *_names_of(values.get("task", {})),
        ):
            check_name(name, "the name")
    except MedleyError as error:
        raise MedleyError(f"{path} has a description that this medley cannot read: {error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise MedleyError(f"{path} has a description that this medley cannot read: {reason}") from error
    return Description(**values)


def _description_in(metadata: Mapping[str, str], path: str | Path) -> str:
    if _DESCRIPTION not in metadata:
        raise MedleyError(f"{path} was not written by medley: it has no description; `medley convert` may help")
    return metadata[_DESCRIPTION]


def _current(stated: Any) -> dict[str, Any]:
    """A description with today's names of fields that older files call differently; raises TypeError."""
    if not isinstance(stated, dict):
        raise TypeError(f"it must be an object, but is {stated!r:.60}")
    if "problem" in stated:
        stated = {**stated, "task": stated["problem"]}
    training = stated.get("training")
    if isinstance(training, dict) and isinstance(psnr := training.get("validation_psnr"), dict):
        validation = {f"{task} psnr": value for task, value in psnr.items()}
        stated = {**stated, "training": {**training, "validation": validation}}
    return stated


@contextmanager
def reading_part(what: str) -> Iterator[None]:
    """Turn an error of the reader of a part of a description into a `MedleyError` that starts with `what`."""
    try:
        yield
    except ValidationError as error:
        raise MedleyError(f"{what}: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from error
    except MedleyError as error:
        raise MedleyError(f"{what}: {error}") from error


def _checked(name: str, value: Any) -> Any:
    """A field of a description as its dataclass has it; raises TypeError."""
    kind = {"tasks": list, "inputs": list}.get(name, dict if name in _OBJECTS else str)
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {_JSON[kind]}, but is {value!r:.60}")
    if kind is list and not all(isinstance(one, str) for one in value):
        raise TypeError(f"{name} must be a list of texts, but is {value!r:.60}")
    if kind is dict and not all(isinstance(key, str) for key in value):
        raise TypeError(f"{name} must have texts as keys")
    return tuple(value) if kind is list else value


_OBJECTS = ("config", "training", "task", "training_scans", "expected_error")
_JSON = {dict: "an object", list: "a list", str: "a text"}


def _names_of(task: Mapping[str, Any]) -> Iterator[str]:
    """Names in the description of a predictor that become names of files: its targets and their structures."""
    targets = task.get("targets", [])
    for target in targets if isinstance(targets, list) else []:
        if isinstance(target, dict):
            yield target.get("name", "")
            names = target.get("names", [])
            yield from names if isinstance(names, list) else []


def _check_plugins(description: Description, path: str | Path) -> None:
    """Refuse weights of a network or of tasks that come from a plugin that was not named; it is never run from here."""
    recipe = description.training.get("recipe")
    plugins = recipe.get("plugins") if isinstance(recipe, dict) else None
    plugins = ", ".join(str(one).partition("#")[0] for one in plugins) if isinstance(plugins, list) else ""
    missing = [] if description.architecture in NETWORKS else [f"the network {description.architecture}"]
    if plugins and not description.task:
        missing += [f"the task {name}" for name in description.tasks if name not in TASKS]
    if missing and plugins:
        raise MedleyError(
            f"{path} needs {' and '.join(missing)} of a plugin, and was trained with {plugins}: name it with --plugin "
            "FILE.py, or call medley.load_plugins"
        )
    if missing:
        raise MedleyError(f"{path} needs {missing[0]}, which this medley does not have; update medley")


# Arguments that say how many layers there are: each layer has at least one tensor in the file.
_COUNTS = ("blocks", "refinement", "experts", "targets")
_LARGEST_NUMBER = 2**16  # of any other argument


def _check_size(config: Mapping[str, Any], tensors: int) -> None:
    """Refuse a configuration of more layers than a file with so many tensors can hold, before it is built."""
    for key, value in config.items():
        numbers = list(_numbers(value))
        if not all(math.isfinite(number) and abs(number) <= _LARGEST_NUMBER for number in numbers):
            raise ValueError(f"{key} is {value!r:.60}, but must be at most {_LARGEST_NUMBER}")
        count = sum(numbers) if key != "targets" else len(value)
        if key in _COUNTS and not 0 <= count <= tensors:
            raise ValueError(f"{key} is {value!r:.60}, but the file has only {tensors} tensors")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list | tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _numbers(one)
    elif isinstance(value, int | float):
        yield value


def _without_folders(value: Any) -> Any:
    """JSON values in which absolute paths are replaced by their last part."""
    if isinstance(value, Mapping):
        return {key: _without_folders(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(one) for one in value]
    if isinstance(value, str) and PurePosixPath(value).is_absolute():
        return PurePosixPath(value).name
    if isinstance(value, str) and PureWindowsPath(value).is_absolute():
        return PureWindowsPath(value).name
    return value


def packaged() -> dict[str, Path]:
    """The weights in the package: name -> file."""
    return {path.stem: path for path in sorted(_PACKAGED.glob(f"*{SUFFIX}"))}


def _halved(name: str, tensor: Tensor) -> Tensor:
    """A tensor in half precision. Integers, flags and vectors (biases, statistics of norms) stay as they are.

    Vectors need little space, and a running variance may be too large for half precision.
    """
    if not tensor.is_floating_point() or tensor.ndim < 2:
        return tensor
    half = tensor.half()
    if not half.isfinite().all():
        raise MedleyError(f"{name} has values up to {tensor.abs().max():g}, too large for half precision (65504)")
    return half


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, shapes, types and bytes of all tensors, in the order of their names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
