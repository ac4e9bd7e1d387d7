"""The processes of a training, one for each device."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from lightning_fabric.utilities.rank_zero import rank_zero_only
from torch import nn

from medley.errors import MedleyError
from medley.training.collective import number
from medley.training.recipe import Recipe

_LOST = re.compile(r"gloo|nccl|connection (closed|reset)|socket", re.IGNORECASE)


def launched(recipe: Recipe) -> Fabric:
    """Fabric with the devices and the precision of a recipe, after starting its processes.

    Under torchrun the processes exist already, and their number is that of torchrun, not `devices`.

    Raises
    ------
    MedleyError: there are several processes, but the recipe aggregates gradients of tasks.
    """
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", recipe.devices))
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", 1))
    if devices * nodes > 1 and recipe.aggregation != "sum":
        raise MedleyError(f"aggregation {recipe.aggregation} works on one device, not on {devices * nodes}")
    strategy: Any = _Processes() if devices * nodes > 1 else "auto"
    fabric = Fabric(
        accelerator=recipe.accelerator,
        strategy=strategy,
        devices=devices,
        num_nodes=nodes,
        precision=recipe.precision,
    )
    fabric.launch()
    return fabric


def is_main() -> bool:
    """Whether this process is the only one or the first of several; it writes the files and the messages."""
    return getattr(rank_zero_only, "rank", 0) == 0


@contextmanager
def without_traceback_of_lost_peers() -> Iterator[None]:
    """Turn the error of a process whose peer has ended into one sentence.

    Raises
    ------
    MedleyError: another process ended; it states the reason itself.
    """
    try:
        yield
    except RuntimeError as error:
        if number() == 1 or not _LOST.search(str(error)):
            raise
        raise MedleyError("another process of this training has ended; its message states the reason") from error


class _Processes(DDPStrategy):
    """The processes of `DDPStrategy` without its wrapper, see `medley.training.collective`."""

    def setup_module(self, module: nn.Module) -> Any:
        return module
