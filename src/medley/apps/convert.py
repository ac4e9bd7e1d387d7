"""`medley convert`: a checkpoint of the authors' programs as a weights file of medley."""

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
from medley.models.convert import convert_original
from medley.models.zoo import create_model

# Where training programs put the state dict in a checkpoint; the running mean of the weights is what they publish.
_PLACES = ("params_ema", "params", "state_dict", "model")


def convert(
    checkpoint: Path,
    output: Path,
    network: str,
    tasks: Sequence[str],
    *,
    settings: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Read a checkpoint, rename what is in it, see that it fits the network, and write it.

    Parameters
    ----------
    network: "tat", "amir" or "restormer"; `settings` change its configuration, which is the paper's.
    tasks: what the network has learnt; a checkpoint does not say.

    Raises
    ------
    MedleyError: the file holds no state dict, or one of another network or configuration.
    """
    check_outputs(checkpoint, [output], overwrite=overwrite)
    model = create_model(network, **parse_settings(settings))
    state = convert_original(network, state_dict_in(checkpoint))
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
    """The tensors of a checkpoint; nothing in it is executed.

    Raises
    ------
    MedleyError: no such file; no checkpoint; no state dict in it.
    """
    if not checkpoint.is_file():
        raise MedleyError(f"{checkpoint}: there is no such file")
    try:
        if checkpoint.suffix == ".safetensors":
            return load_file(checkpoint)
        content: Any = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file makes torch raise nearly anything
        raise MedleyError(
            f"{checkpoint}: cannot be read as a checkpoint; expected a state dict of tensors that torch.save or "
            f"safetensors wrote ({type(error).__name__})"
        ) from error
    for place in _PLACES:
        if isinstance(content, Mapping) and isinstance(content.get(place), Mapping):
            content = content[place]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise MedleyError(f"{checkpoint}: holds no state dict at the top nor under {', '.join(_PLACES)}")
    return dict(content)
