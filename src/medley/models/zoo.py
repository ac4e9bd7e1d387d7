"""The networks by name. Plain data: torch is imported only when a network is created."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from medley.errors import MedleyError

if TYPE_CHECKING:
    from medley.models.blocks import RestorationNetwork
    from medley.models.multitask import HPS, STL

# Architecture -> (module, class).
ARCHITECTURES: Mapping[str, tuple[str, str]] = {
    "tat": ("medley.models.tat", "TAT"),
    "amir": ("medley.models.amir", "AMIR"),
    "restormer": ("medley.models.restormer", "Restormer"),
    "unih3": ("medley.models.unih3", "UniH3"),
    "slab": ("medley.models.slab", "SlabNet"),
    "stl": ("medley.models.multitask", "STL"),
    "hps": ("medley.models.multitask", "HPS"),
    "mtan": ("medley.models.multitask", "MTAN"),
    "ctan": ("medley.models.ctan", "CTAN"),
}

# A narrow ResNet for grids of 64 to 96 voxels along each axis, on two CPU cores.
_TINY = {"width": 12, "widest": 48, "blocks": (1, 1, 1, 1), "stem": 2}

# Name -> (architecture, arguments that differ from its defaults, which are those of the paper).
CONFIGURATIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "tat": ("tat", {}),
    "amir": ("amir", {}),
    "restormer": ("restormer", {}),
    "unih3": ("unih3", {}),
    "slab": ("slab", {}),
    # Small enough to train on two CPU cores, under 6 MB. An expansion of 2.5 gives even hidden widths, on which the
    # convolutions are faster. No local attention: after training on patches of 64 it shows seams in large slices, and
    # attention over the whole slice is better by 1 dB in a CT of 512 x 512.
    "tat-tiny": (
        "tat",
        {"dim": 16, "blocks": (1, 2, 2, 1), "refinement": 1, "expansion": 2.5, "generator_width": 6, "window": None},
    ),
    # The three tasks for which medley has training data; attention costs less than in tat-tiny, the memory more.
    "unih3-tiny": (
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
    "amir-tiny": ("amir", {"dim": 16, "blocks": (1, 2, 2, 2), "refinement": 1, "expansion": 2.5}),
    # Several outputs from one image; targets and dimension are arguments of `create_model`.
    "stl": ("stl", {}),
    "hps": ("hps", {}),
    "mtan": ("mtan", {}),
    "ctan": ("ctan", {}),
    "stl-tiny": ("stl", _TINY),
    "hps-tiny": ("hps", _TINY),
    "mtan-tiny": ("mtan", _TINY),
    "ctan-tiny": ("ctan", {**_TINY, "heads": 4}),
}


def create_model(name: str, **config: Any) -> RestorationNetwork | HPS | STL:
    """A network with initial weights.

    A restorer is `forward(x (B, 1, H, W)) -> (B, 1, H, W)`; "slab" also takes the neighbouring slices and conditions,
    see `medley.models.slab`. A multi-task network is `forward(x (B, channels, *spatial))
    -> {name of the target: (B, k, *spatial) or (B, k)}`, logits or a scaled map; its targets are required:
    `create_model("ctan", targets={"dose": ("pixel", 1), "diagnosis": ("image", 3)}, dimension=3, channels=1)`.

    Parameters
    ----------
    name: one of `CONFIGURATIONS`; "tat", "amir", "restormer", "unih3" and "ctan" are those of the papers, "slab" is
        medley's own, "stl", "hps" and "mtan" are the networks that CTAN is compared with.
    config: arguments of the network's class that differ from the configuration; `.config` of the network has all.

    Raises
    ------
    MedleyError: no such network, an unknown argument, an invalid value, or no targets.
    """
    if name not in CONFIGURATIONS:
        raise MedleyError(f"there is no network {name!r}; the networks are {', '.join(CONFIGURATIONS)}")
    architecture, defaults = CONFIGURATIONS[name]
    module, class_name = ARCHITECTURES[architecture]
    network = getattr(import_module(module), class_name)
    fast = import_module("medley.models.fast")
    known = inspect.signature(network).parameters
    for key in config:
        if key not in known:
            raise MedleyError(f"the network {name!r} has no argument {key!r}; its arguments are {', '.join(known)}")
    if missing := [key for key, one in known.items() if one.default is one.empty and key not in {**defaults, **config}]:
        raise MedleyError(f"the network {name!r} needs {' and '.join(missing)}")
    try:
        return fast.optimise(network(**{**defaults, **config}))
    except (TypeError, ValueError) as error:
        raise MedleyError(f"the network {name!r} cannot be created with these arguments: {error}") from error


def network_arguments(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a network that have a value: its defaults, those of its configuration, and `config`."""
    architecture, changed = CONFIGURATIONS[name]
    module, class_name = ARCHITECTURES[architecture]
    known = inspect.signature(getattr(import_module(module), class_name)).parameters
    defaults = {key: one.default for key, one in known.items() if one.default is not one.empty}
    return {**defaults, **changed, **config}


def is_multitask(name: str) -> bool:
    """Whether a name in `CONFIGURATIONS` is that of a multi-task network, not of a restorer."""
    return CONFIGURATIONS.get(name, ("", {}))[0] in ("stl", "hps", "mtan", "ctan")
