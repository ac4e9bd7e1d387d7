"""Converts state dicts of the original programs. Tensors are only renamed and reshaped."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from medley.errors import MedleyError

_BLOCK = (
    (r"^encoder_level(\d)\.", r"encoder\1."),
    (r"^decoder_level(\d)\.", r"decoder\1."),
    (r"\.(norm\d)\.body\.", r".\1."),
    (r"\.attn\.", r".attention."),
    (r"\.ffn\.", r".feed_forward."),
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
}
# Constants of the normal distribution, which the original AMIR stores with its weights.
_IGNORED = re.compile(r"\.moe\.(mean|std)$")
# The only name that is the same here.
_UNCHANGED = "output.weight"


def convert_original(name: str, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the authors' program as one for `create_model(name, ...).load_state_dict`.

    Parameters
    ----------
    name: "tat", "amir" or "restormer".
    state_dict: as the authors saved it; a leading "module." (from parallel training) is removed.

    Raises
    ------
    MedleyError: no such network, or a name in the state dict that its authors' program does not have.
    """
    if name not in _RULES:
        raise MedleyError(f"state dicts can be converted for {', '.join(_RULES)}, not for {name!r}")
    converted = {}
    for original, tensor in state_dict.items():
        key = original.removeprefix("module.")
        if _IGNORED.search(key):
            continue
        renamed = _renamed(key, _RULES[name])
        if renamed == key and not key.startswith(_UNCHANGED):
            raise MedleyError(
                f"the state dict has {original!r}, which the authors' {name} does not; is it of another network?"
            )
        converted[renamed] = _reshaped(renamed, tensor)
    return converted


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _reshaped(name: str, tensor: Tensor) -> Tensor:
    """1x1 convolutions are matrices here, and parameters have no axes of length 1 for broadcasting."""
    if tensor.ndim == 5:
        return tensor[0]
    if name.endswith((".gamma", ".beta")):
        return tensor.flatten()
    if tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
        return tensor.flatten(1)
    return tensor
