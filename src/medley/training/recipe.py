"""What a training recipe may say. A key that is not known here fails: nothing is silently ignored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from medley.errors import MedleyError
from medley.tasks import TASKS


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Optimiser(_Strict):
    """AdamW with a linear warm-up and a cosine fall.

    Attributes
    ----------
    rate: highest learning rate. final_rate: the one at the last step. warmup: steps until `rate` is reached.
    betas, weight_decay: AdamW's. clip: the gradient's L2 norm is cut to this; None leaves it.
    """

    rate: float = Field(2e-4, gt=0)
    final_rate: float = Field(1e-7, ge=0)
    warmup: int = Field(0, ge=0)
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(0.0, ge=0)
    clip: float | None = Field(None, gt=0)


class Validation(_Strict):
    """How the network is watched while it learns: on `slices` slices of each task, every `every` steps."""

    every: int = Field(1000, gt=0)
    slices: int = Field(12, gt=0)


class Recipe(_Strict):
    """One training run.

    Attributes
    ----------
    name: of the weights it makes.
    model: a name in `medley.models.zoo`; `config` replaces parts of its configuration.
    store: the prepared data. tasks: trained together. output: folder of checkpoints, TensorBoard scalars and weights.
    steps: length of the run. patch: side of the patches in pixels. patches: in a step, of all tasks together.
    sampling: "uniform", as many patches of every task in every step, or "mixed", as the data has them.
    identity_start: the last convolution starts at zero, so that training starts from the input itself. Not in the
        papers; short runs need it, since a CT's noise is half a percent of its range.
    balance: "tat" for TAT's learnt weighting of the samples (sec. 3.3), "equal" for the mean absolute error.
    ema: decay of the running mean of the weights, which is what is validated and saved.
    micro_batch: samples in one pass through the network; smaller needs less memory and gives the same gradient for
        networks without an auxiliary loss. None: all of a step's.
    precision: Lightning Fabric's name, "32-true" or "bf16-mixed".
    accelerator, devices: Lightning Fabric's.
    checkpoint_every: steps between checkpoints.
    """

    name: str
    model: str
    config: dict[str, Any] = {}
    store: Path
    output: Path
    tasks: tuple[str, ...] = tuple(TASKS)
    seed: int = 0
    steps: int = Field(gt=0)
    patch: int = Field(128, ge=16)
    patches: int = Field(12, gt=0)
    sampling: Literal["uniform", "mixed"] = "uniform"
    identity_start: bool = False
    balance: Literal["tat", "equal"] = "equal"
    optimiser: Optimiser = Optimiser()
    ema: float = Field(0.999, ge=0, lt=1)
    micro_batch: int | None = Field(None, gt=0)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    accelerator: str = "auto"
    devices: int = Field(1, gt=0)
    validation: Validation = Validation()
    checkpoint_every: int = Field(1000, gt=0)

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [task for task in tasks if task not in TASKS]
        if unknown or not tasks:
            raise ValueError(f"expected some of {', '.join(TASKS)}")
        return tasks


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, with "key=value" overrides on top ("optimiser.rate=1e-3"; values are YAML).

    Raises
    ------
    MedleyError: no such file, no YAML, an unknown key or a value that does not fit; each named.
    """
    try:
        content = yaml.safe_load(Path(path).read_text()) or {}
    except OSError as error:
        raise MedleyError(f"the recipe {path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise MedleyError(f"the recipe {path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise MedleyError(f"the recipe {path} holds {type(content).__name__}, expected keys and values")
    for override in overrides:
        _set(content, override)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors())
        raise MedleyError(f"the recipe {path}: {faults}") from None


def _set(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals:
        raise MedleyError(f"--set {override}: expected key=value, such as optimiser.rate=1e-3")
    *parents, last = key.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise MedleyError(f"--set {override}: {parent} holds a value, not keys")
    content[last] = yaml.safe_load(value)
