"""Converts state dicts of the original programs. Tensors are only selected, renamed and reshaped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medley.errors import MedleyError
from medley.models.blocks import LEVELS
from medley.models.unih3 import TASKS

_BLOCK = (
    (r"^encoder_level(\d)\.", r"encoder\1."),
    (r"^decoder_level(\d)\.", r"decoder\1."),
    (r"\.(norm\d)\.body\.", r".\1."),
    (r"\.attn\.", r".attention."),
    (r"\.ffn(\d?)\.", r".feed_forward\1."),
    (r"\.(qkv_)?dwconv\.", r".kernel."),
    (r"\.dw_kernel$", r".kernel.weight"),
    (r"\.lambda_dw$", r".kernel.strength"),
    (r"\.project_in\.", r".expand."),
    (r"\.project_out\.", r".project."),
)
_TRUNK = (
    (r"^patch_embed\.proj\.", r"embed."),
    (r"^down(\d)_\d\.body\.0\.", r"down\1.conv."),
    (r"^up\d_(\d)\.body\.0\.", r"up\1.conv."),
    (r"^reduce_chan_level(\d)\.", r"reduce\1."),
    *_BLOCK,
)
_RULES = {
    "restormer": _TRUNK,
    "tat": (
        (r"^reduce_final\.", r"output."),
        (r"^output\.weight$", r"output.3.weight"),
        (r"^tren\.E\.", r"generator.encode."),
        (r"^tren\.mlp\.", r"generator.mix."),
        (r"^tren\.kernel_(\w+)_attn\.0\.", r"generator.attention.\1."),
        (r"^tren\.kernel_(\w+)_ffn\.0\.", r"generator.feed_forward.\1."),
        *_TRUNK,
    ),
    "amir": (
        (r"^dict_generator\.dictionary$", r"instruction.dictionary"),
        (r"^dict_generator\.CondNet\.", r"instruction.encode."),
        (r"^dict_generator\.lastOut\.", r"instruction.weigh."),
        (r"^spatial_routing_encoder_level(\d)\.", r"spatial\1."),
        (r"^channel_routing_latent\.", r"channel4."),
        (r"^channel_routing_decoder_level(\d)\.", r"channel\1."),
        (r"\.fc\.", r".instruct."),
        (r"\.moe\.w_(gate|noise)$", r".\1"),
        (r"\.moe\.(experts\.\d+)\.fc1\.", r".\1.0."),
        (r"\.moe\.(experts\.\d+)\.fc2\.", r".\1.2."),
        *_TRUNK,
    ),
    "unih3": (
        *((rf"^patch_embed_{level}\.body\.1\.", f"guides.{level - 1}.conv.") for level in range(1, LEVELS + 1)),
        *((rf"^hq_prompt_{level}\.", f"memories.{level - 1}.") for level in range(1, LEVELS + 1)),
        (r"\.memory$", r".prototypes"),
        (r"\.memory_hq$", r".store"),
        (r"\.memory_hq_initialized$", r".filled"),
        (r"\.norm_q\.body\.", r".norm_query."),
        (r"\.norm_k\.", r".norm_key."),
        (r"\.norm_v\.", r".norm_value."),
        (r"\.q_project\.", r".query.0."),
        (r"\.q_dwconv\.", r".query.1."),
        (r"\.k_project\.", r".key."),
        (r"\.v_project\.", r".value."),
        (r"\.proj_out\.", r".output."),
        (r"^input_embed\.", r"embed."),
        (r"\.block_list\.", r"."),
        (r"\.global_att\.", r".attention."),
        (r"\.local_conv\.conv\.", r".local.body."),
        (r"\.local_conv\.ca\.1\.", r".local.gate.0."),
        (r"\.local_conv\.ca\.3\.", r".local.gate.2."),
        (r"^reduce_chan_decoder_level(\d)\.", r"reduce\1."),
        (r"^reduce_refinement\.", r"output.0."),
        (r"^output\.weight$", r"output.1.weight"),
        *_TRUNK,
    ),
}
# Constants of the normal distribution, which the original AMIR stores with its weights, and UniH3's loss balancing.
_IGNORED = re.compile(r"\.moe\.(mean|std)$|^UW_loss\.")
# "module" is added by parallel training, "IR_Model" is the network among what UniH3's program trains.
_PREFIXES = ("module.", "IR_Model.")
# Of the two networks in a state of ema_pytorch, whose other entries count its steps.
_AVERAGED, _TRAINED = "ema_model.", "online_model."
# The only name that is the same here.
_UNCHANGED = "output.weight"
# Parameters of UniH3 that are stored with an axis for the samples.
_FOR_SAMPLES = (".temperature", ".attention.gamma", ".attention.beta")


def convert_original(name: str, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the authors' program as one for `create_model(name, ...).load_state_dict`.

    Parameters
    ----------
    name: "tat", "amir", "restormer" or "unih3".
    state_dict: as the authors saved it; a leading "module." (from parallel training) is removed. Of a state of
        ema_pytorch, the averaged weights are used. Weights of a loss balancing are left out.

    Raises
    ------
    MedleyError: no such network, or a name in the state dict that its authors' program does not have.
    """
    if name not in _RULES:
        raise MedleyError(f"state dicts can be converted for {', '.join(_RULES)}, not for {name!r}")
    converted = {}
    for original, tensor in _averaged(state_dict).items():
        key = original
        for prefix in _PREFIXES:
            key = key.removeprefix(prefix)
        if _IGNORED.search(key):
            continue
        renamed = _renamed(key, _RULES[name])
        if renamed == key and not key.startswith(_UNCHANGED):
            raise MedleyError(
                f"the state dict has {original!r}, which the authors' {name} does not; is it of another network?"
            )
        converted[renamed] = _reshaped(renamed, tensor)
    return converted


def config_of(name: str, converted: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `create_model` that the shapes in a state dict of `convert_original` determine.

    For UniH3 the numbers of slots and of tasks; the tasks are named in the order of the authors' program. For other
    networks there are none.
    """
    prototypes = converted.get("memories.0.prototypes") if name == "unih3" else None
    if prototypes is None or prototypes.ndim != 3:
        return {}
    groups, slots, _ = prototypes.shape
    return {"tasks": list(TASKS[: groups - 1]), "slots": slots}


def _averaged(state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Of a state of ema_pytorch, the averaged weights, with the flags of UniH3's memory, which it does not copy."""
    averaged = {key.removeprefix(_AVERAGED): one for key, one in state_dict.items() if key.startswith(_AVERAGED)}
    flags = {
        key.removeprefix(_TRAINED): one
        for key, one in state_dict.items()
        if key.startswith(_TRAINED) and key.endswith("memory_hq_initialized")
    }
    return averaged | flags if averaged else state_dict


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _reshaped(name: str, tensor: Tensor) -> Tensor:
    """1x1 convolutions are matrices here, and parameters have no axes of length 1 for broadcasting."""
    if tensor.ndim == 5 or (tensor.ndim == 4 and name.endswith(_FOR_SAMPLES)):
        return tensor[0]
    if name.endswith((".gamma", ".beta")):
        return tensor.flatten()
    if tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
        return tensor.flatten(1)
    return tensor
