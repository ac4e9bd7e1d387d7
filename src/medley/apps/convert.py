"""`medley convert`: converts a checkpoint of the authors' programs into a weights file of medley."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor

import medley
from medley.apps._outputs import check_outputs
from medley.apps._settings import parse_settings
from medley.apps._terminal import say
from medley.errors import MedleyError
from medley.models import weights
from medley.models.convert import config_of, convert_original
from medley.models.zoo import create_model

# The keys under which training programs store the state dict; they publish the running mean of the weights.
_KEYS = ("params_ema", "params", "state_dict", "model")


def convert(
    checkpoint: Path,
    output: Path,
    network: str,
    tasks: Sequence[str],
    *,
    settings: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Read a checkpoint, rename its tensors, check that they fit the network, and write a weights file.

    Parameters
    ----------
    network: "tat", "amir", "restormer" or "unih3"; `settings` change its configuration, by default that of the paper.
        The numbers of tasks and slots of UniH3 are those of the checkpoint.
    tasks: of the network, because a checkpoint does not contain them.

    Raises
    ------
    MedleyError: the file has no state dict, or one of another network or configuration.
    """
    check_outputs(checkpoint, [output], overwrite=overwrite)
    state = convert_original(network, state_dict_in(checkpoint))
    model = create_model(network, **config_of(network, state) | parse_settings(settings))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise MedleyError(f"{checkpoint}: does not fit {network} with this configuration: {reason}") from error
    description = weights.Description(
        name=output.stem,
        architecture=network,
        config=cast(Mapping[str, Any], model.config),
        tasks=tuple(tasks),
        training={"converted_from": checkpoint.name},
        version=medley.__version__,
    )
    weights.save(output, model, description)
    say(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters -> {output}")


def state_dict_in(checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint. Code in the file is not executed.

    Raises
    ------
    MedleyError: there is no such file, it is not a checkpoint, or it has no state dict.
    """
    if not checkpoint.is_file():
        raise MedleyError(f"{checkpoint}: does not exist")
    try:
        if checkpoint.suffix == ".safetensors":
            return load_file(checkpoint)
        content: Any = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # for a broken file torch can raise nearly any exception
        raise MedleyError(
            f"{checkpoint}: cannot be read as a checkpoint; expected a state dict of tensors that torch.save or "
            f"safetensors wrote ({type(error).__name__})"
        ) from error
    for key in _KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise MedleyError(f"{checkpoint}: has no state dict, neither at the top level nor under {', '.join(_KEYS)}")
    return dict(content)
