"""Checkpoints: all that a run needs to go on as if it had never stopped, and the weights that come out at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from medley.errors import MedleyError
from medley.runtime.atomic import replacing


def save_checkpoint(fabric: Fabric, path: Path, state: dict[str, Any]) -> None:
    """Write `state` (numbers, texts, state dicts) to `path`; what was there before stays until all is written."""
    if fabric.is_global_zero:
        with replacing(path, overwrite=True) as temporary:
            torch.save(state, temporary)
    fabric.barrier()


def load_checkpoint(path: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """The state in a checkpoint of the same recipe, on the CPU.

    Raises
    ------
    MedleyError: no checkpoint there, a broken one, or one of another recipe (the differing keys are named).
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise MedleyError(f"there is no checkpoint {path} to resume; start without --resume") from None
    except Exception as error:  # a broken file makes torch raise nearly anything
        raise MedleyError(f"the checkpoint {path} cannot be read ({error!r}); start again without --resume") from None
    there = state["recipe"]
    differing = [key for key in sorted({*there, *recipe}) if there.get(key) != recipe.get(key)]
    if differing:
        raise MedleyError(
            f"the checkpoint {path} belongs to another recipe: {', '.join(differing)} differ; resume with the recipe "
            f"it was made with, or give another output folder"
        )
    return state
