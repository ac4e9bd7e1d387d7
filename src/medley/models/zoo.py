"""The networks by name. Plain data: torch is imported only when a network is made."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from medley.errors import MedleyError

if TYPE_CHECKING:
    from medley.models.blocks import Trunk

# Where the class of an architecture is.
ARCHITECTURES: Mapping[str, tuple[str, str]] = {
    "tat": ("medley.models.tat", "TAT"),
    "amir": ("medley.models.amir", "AMIR"),
    "restormer": ("medley.models.restormer", "Restormer"),
}

# Name -> (architecture, what differs from its defaults, which are the paper's).
CONFIGURATIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "tat": ("tat", {}),
    "amir": ("amir", {}),
    "restormer": ("restormer", {}),
    # Small enough to train on two CPU cores, under 6 MB. An expansion of 2.5 gives even hidden widths, on which the
    # convolutions are faster. No local attention: after training on patches of 64 it shows seams in large slices, and
    # attention over the whole slice is better by 1 dB in a CT of 512 x 512.
    "tat-tiny": (
        "tat",
        {"dim": 16, "blocks": (1, 2, 2, 1), "refinement": 1, "expansion": 2.5, "generator_width": 6, "window": None},
    ),
    "amir-tiny": ("amir", {"dim": 16, "blocks": (1, 2, 2, 2), "refinement": 1, "expansion": 2.5}),
}


def create_model(name: str, **config: Any) -> Trunk:
    """A network with fresh weights, `forward(x (B, 1, H, W)) -> (B, 1, H, W)`.

    Parameters
    ----------
    name: one of `CONFIGURATIONS`; "tat", "amir" and "restormer" are the papers' own.
    config: arguments of the network's class that shall differ; the finished network's `.config` has them all.

    Raises
    ------
    MedleyError: no such network, a key that it does not know, or a value that it cannot have.
    """
    if name not in CONFIGURATIONS:
        raise MedleyError(f"there is no network {name!r}; the networks are {', '.join(CONFIGURATIONS)}")
    architecture, defaults = CONFIGURATIONS[name]
    module, class_name = ARCHITECTURES[architecture]
    network = getattr(import_module(module), class_name)
    known = inspect.signature(network).parameters
    for key in config:
        if key not in known:
            raise MedleyError(f"the network {name!r} has no setting {key!r}; its settings are {', '.join(known)}")
    try:
        return network(**{**defaults, **config})
    except (TypeError, ValueError) as error:
        raise MedleyError(f"the network {name!r} cannot be made with these settings: {error}") from error
