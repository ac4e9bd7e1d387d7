"""The networks by name. Plain data: torch is imported only when a network is created."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from medley.errors import MedleyError
from medley.runtime.registry import Registry

if TYPE_CHECKING:
    from medley.models.blocks import RestorationNetwork
    from medley.models.multitask import HPS, STL


@dataclass(frozen=True)
class Variant:
    """A network of the table with other arguments.

    Attributes
    ----------
    of: its name. arguments: those that differ from its defaults.
    """

    of: str
    arguments: Mapping[str, Any]


# A narrow ResNet for grids of 64 to 96 voxels along each axis, on two CPU cores.
_TINY = {"width": 12, "widest": 48, "blocks": (1, 1, 1, 1), "stem": 2}

# The defaults of the networks are those of the papers. A class that has an argument `targets` is a multi-task network,
# any other a restorer.
NETWORKS: Registry[Any] = Registry(
    "network",
    "a class or a Variant",
    lambda entry: isinstance(entry, type | Variant),
    {
        "tat": "medley.models.tat:TAT",
        "amir": "medley.models.amir:AMIR",
        "restormer": "medley.models.restormer:Restormer",
        "unih3": "medley.models.unih3:UniH3",
        "slab": "medley.models.slab:SlabNet",
        # Small enough to train on two CPU cores, under 6 MB. An expansion of 2.5 gives even hidden widths, on which the
        # convolutions are faster. No local attention: after training on patches of 64 it shows seams in large slices,
        # and attention over the whole slice is better by 1 dB in a CT of 512 x 512.
        "tat-tiny": Variant(
            "tat",
            {
                "dim": 16,
                "blocks": (1, 2, 2, 1),
                "refinement": 1,
                "expansion": 2.5,
                "generator_width": 6,
                "window": None,
            },
        ),
        # The three tasks for which medley has training data; attention costs less than in tat-tiny, the memory more.
        "unih3-tiny": Variant(
            "unih3",
            {
                "dim": 16,
                "blocks": (1, 1, 1, 1),
                "refinement": 1,
                "expansion": 2.5,
                "slots": 32,
                "tasks": ("pet-denoise", "ct-denoise", "mr-sr"),
            },
        ),
        "amir-tiny": Variant("amir", {"dim": 16, "blocks": (1, 2, 2, 2), "refinement": 1, "expansion": 2.5}),
        # Several outputs from one image; targets and dimension are arguments of `create_model`.
        "stl": "medley.models.multitask:STL",
        "hps": "medley.models.multitask:HPS",
        "mtan": "medley.models.multitask:MTAN",
        "ctan": "medley.models.ctan:CTAN",
        "stl-tiny": Variant("stl", _TINY),
        "hps-tiny": Variant("hps", _TINY),
        "mtan-tiny": Variant("mtan", _TINY),
        "ctan-tiny": Variant("ctan", {**_TINY, "heads": 4}),
    },
)


def create_model(name: str, **config: Any) -> RestorationNetwork | HPS | STL:
    """A network with initial weights.

    A restorer is `forward(x (B, 1, H, W)) -> (B, 1, H, W)`; "slab" also takes the neighbouring slices and conditions,
    see `medley.models.slab`. A multi-task network is `forward(x (B, channels, *spatial))
    -> {name of the target: (B, k, *spatial) or (B, k)}`, logits or a scaled map; its targets are required:
    `create_model("ctan", targets={"dose": ("pixel", 1), "diagnosis": ("image", 3)}, dimension=3, channels=1)`.

    Parameters
    ----------
    name: one of `NETWORKS`; "tat", "amir", "restormer", "unih3" and "ctan" are those of the papers, "slab" is
        medley's own, "stl", "hps" and "mtan" are the networks that CTAN is compared with.
    config: arguments of the network's class that differ from the configuration; `.config` of the network has all.

    Raises
    ------
    MedleyError: no such network, an unknown argument, an invalid value, or no targets.
    """
    architecture, defaults = configuration(name)
    network = NETWORKS[architecture]
    fast = import_module("medley.models.fast")
    known = _parameters(architecture)
    for key in config:
        if key not in known:
            raise MedleyError(f"the network {name!r} has no argument {key!r}; its arguments are {', '.join(known)}")
    if missing := [key for key, one in known.items() if one.default is one.empty and key not in {**defaults, **config}]:
        raise MedleyError(f"the network {name!r} needs {' and '.join(missing)}")
    try:
        created = fast.optimise(network(**{**defaults, **config}))
    except (TypeError, ValueError) as error:
        raise MedleyError(f"the network {name!r} cannot be created with these arguments: {error}") from error
    if not hasattr(created, "config"):
        created.config = _plain(network_arguments(name, config), name)
    return created


def configuration(name: str) -> tuple[str, Mapping[str, Any]]:
    """The name of the network without a variant, and the arguments that differ from its defaults.

    Raises
    ------
    MedleyError: no such network.
    """
    entry = NETWORKS.named(name)
    if not isinstance(entry, Variant):
        return name, {}
    architecture, arguments = configuration(entry.of)
    return architecture, {**arguments, **entry.arguments}


def network_arguments(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a network that have a value: its defaults, those of its variant, and `config`."""
    architecture, changed = configuration(name)
    known = _parameters(architecture)
    defaults = {key: one.default for key, one in known.items() if one.default is not one.empty}
    return {**defaults, **changed, **config}


def is_multitask(name: str) -> bool:
    """Whether a network is a multi-task network, not a restorer."""
    return "targets" in _parameters(configuration(name)[0])


def _parameters(architecture: str) -> dict[str, inspect.Parameter]:
    """The arguments of a network's class, without *args and **kwargs."""
    known = inspect.signature(NETWORKS[architecture]).parameters
    return {key: one for key, one in known.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}


def _plain(arguments: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Arguments as they are stored with the weights."""
    try:
        return json.loads(json.dumps(arguments, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise MedleyError(f"the network {name!r} has an argument that cannot be stored as JSON: {error}") from error
