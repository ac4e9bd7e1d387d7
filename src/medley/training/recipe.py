"""What a training recipe may say. A key that is not known here fails: nothing is silently ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from medley.errors import MedleyError
from medley.models.zoo import is_multitask
from medley.runtime.configuration import parse_setting, read_configuration
from medley.tasks import TASKS

T = TypeVar("T", bound=BaseModel)


class Strict(BaseModel):
    """Keys that are not known fail; values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Optimiser(Strict):
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


class Validation(Strict):
    """How a restorer is watched while it learns: on `slices` slices of each task, every `every` steps."""

    every: int = Field(1000, gt=0)
    slices: int = Field(12, gt=0)


class Balance(Strict):
    """How much each task's loss counts; in a recipe its name alone will do.

    Attributes
    ----------
    name: "equal"; "fixed", by `weights`; "uncertainty", learnt (Kendall et al.); "dwa", by how fast each loss falls
        (dynamic weight average); "tat", learnt for every sample (TAT, sec. 3.3), for restorers.
    weights: {task: factor}, tasks that are not named count 1.
    period: steps over which dwa averages a loss. temperature: dwa's; large makes the weights alike.
    """

    name: Literal["equal", "fixed", "uncertainty", "dwa", "tat"] = "equal"
    weights: dict[str, float] = {}
    period: int = Field(100, gt=0)
    temperature: float = Field(2.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _weights_where_they_count(self) -> Balance:
        if bool(self.weights) != (self.name == "fixed"):
            raise ValueError('weights and the name "fixed" belong together')
        return self


class Recipe(Strict):
    """What every training run has.

    Attributes
    ----------
    name: of the weights it makes.
    model: a name in `medley.models.zoo`; `config` replaces parts of its configuration.
    store: the prepared data. output: folder of checkpoints, TensorBoard scalars and weights.
    start: weights file of the same network to start from; None starts from random ones.
    steps: length of the run.
    balance: how much each task counts. aggregation: how the tasks' gradients become one step: "sum", or a way to
        settle their conflicts on the parameters that several tasks share, by torchjd.
    ema: decay of the running mean of the weights, which is what is validated and saved.
    precision: Lightning Fabric's name, "32-true" or "bf16-mixed".
    accelerator, devices: Lightning Fabric's.
    checkpoint_every: steps between checkpoints.
    """

    name: str
    model: str
    config: dict[str, Any] = {}
    store: Path
    output: Path
    start: Path | None = None
    seed: int = 0
    steps: int = Field(gt=0)
    balance: Balance = Balance()
    aggregation: Literal["sum", "pcgrad", "mgda", "aligned-mtl", "imtl-g"] = "sum"
    optimiser: Optimiser = Optimiser()
    ema: float = Field(0.999, ge=0, lt=1)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    accelerator: str = "auto"
    devices: int = Field(1, gt=0)
    checkpoint_every: int = Field(1000, gt=0)

    @model_validator(mode="after")
    def _one_device_for_aggregation(self) -> Recipe:
        if self.aggregation != "sum" and self.devices > 1:
            raise ValueError(f"aggregation {self.aggregation} works on one device")
        return self


class RestorationRecipe(Recipe):
    """A restorer's run.

    Attributes
    ----------
    tasks: trained together. patch: side of the patches in pixels. patches: in a step, of all tasks together.
    sampling: "uniform", as many patches of every task in every step, or "mixed", as the data has them.
    identity_start: the last convolution starts at zero, so that training starts from the input itself. Not in the
        papers; short runs need it, since a CT's noise is half a percent of its range.
    micro_batch: samples in one pass through the network; smaller needs less memory and gives the same gradient for
        networks without an auxiliary loss. None: all of a step's.
    recompute: activation checkpointing: what lies within the network's blocks is not kept for the backward pass but
        computed a second time. The same gradients, in a third of the time more and a fraction of the memory.
    """

    tasks: tuple[str, ...] = tuple(TASKS)
    patch: int = Field(128, ge=16)
    patches: int = Field(12, gt=0)
    sampling: Literal["uniform", "mixed"] = "uniform"
    identity_start: bool = False
    micro_batch: int | None = Field(None, gt=0)
    recompute: bool = False
    validation: Validation = Validation()

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [task for task in tasks if task not in TASKS]
        if unknown or not tasks:
            raise ValueError(f"expected some of {', '.join(TASKS)}")
        return tasks

    @model_validator(mode="after")
    def _whole_batch(self) -> RestorationRecipe:
        if self.aggregation != "sum" and (self.micro_batch or self.balance.name == "tat"):
            raise ValueError(f"aggregation {self.aggregation} goes with neither micro_batch nor balance tat")
        if self.micro_batch and self.balance.name in ("uncertainty", "dwa"):
            raise ValueError(f"balance {self.balance.name} weighs whole batches, so it does not go with micro_batch")
        return self


class PredictionRecipe(Recipe):
    """A multi-task net's run.

    Attributes
    ----------
    targets: what is asked, names of the store's problem; () for all of them.
    inputs: what the network sees: "image", and stored masks such as the structures or the region of a dose.
    batch: cases in a step. crop: voxels along each axis of what is learnt from each, () for whole cases.
    beyond_region: whether a map is learnt outside of its region too, as the store has it (a dose is 0 there); a network
        that shall predict whole scans must know what is outside, though no score asks for it.
    validate_every: steps.
    backbone: file with a ResNet's weights to start from, None to start from random ones.
    class_weights: "equal", or "inverse": a class counts as much as it is rare among the training cases.
    voxel_weights: of structures, "equal", or "inverse": the voxels inside together as much as all those outside.
    """

    targets: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ("image",)
    batch: int = Field(8, gt=0)
    crop: tuple[Annotated[int, Field(ge=16)], ...] = ()
    backbone: Path | None = None
    class_weights: Literal["equal", "inverse"] = "equal"
    voxel_weights: Literal["equal", "inverse"] = "equal"
    beyond_region: bool = False
    validate_every: int = Field(1000, gt=0)

    @field_validator("balance")
    @classmethod
    def _not_of_restorers(cls, balance: Balance) -> Balance:
        if balance.name == "tat":
            raise ValueError("tat weighs images; expected equal, fixed, uncertainty or dwa")
        return balance

    @field_validator("devices")
    @classmethod
    def _one(cls, devices: int) -> int:
        if devices > 1:  # a target that no case of one device has would leave the others waiting for its gradients
            raise ValueError("multi-task nets learn on one device")
        return devices

    @field_validator("inputs")
    @classmethod
    def _with_image(cls, inputs: tuple[str, ...]) -> tuple[str, ...]:
        if not inputs or inputs[0] != "image":
            raise ValueError("the first input is the image")
        return inputs


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, with "key=value" overrides on top ("optimiser.rate=1e-3"; values are YAML).

    Raises
    ------
    MedleyError: no such file, no YAML, an unknown key or a value that does not fit; each named.
    """
    content = read_yaml(path, overrides)
    if "methods" in content:
        raise MedleyError(f"the recipe {path} is of a comparison; give it to `medley compare`")
    return make_recipe(content, f"the recipe {path}")


def read_yaml(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The keys and values of a YAML file, with "key=value" overrides on top.

    Raises
    ------
    MedleyError: there is no such file, it is not YAML, or it does not hold keys and values; an override is not one.
    """
    content = read_configuration(path, "the recipe")
    for override in overrides:
        _set(content, override)
    return content


def make_recipe(content: Mapping[str, Any], what: str) -> Recipe:
    """The recipe of these keys: a restorer's or a multi-task net's, as its model is one or the other.

    Raises
    ------
    MedleyError: an unknown key or a value that does not fit; all named, after `what`.
    """
    kind = PredictionRecipe if is_multitask(str(content.get("model"))) else RestorationRecipe
    return validated(kind, content, what)


def validated(kind: type[T], content: Mapping[str, Any], what: str) -> T:
    """`content` as a `kind`.

    Raises
    ------
    MedleyError: an unknown key or a value that does not fit; all named, after `what`.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors())
        raise MedleyError(f"{what}: {faults}") from None


def _set(content: dict[str, Any], override: str) -> None:
    key, value = parse_setting(override)
    *parents, last = key.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise MedleyError(f"--set {override}: {parent} holds a value, not keys")
    content[last] = value
