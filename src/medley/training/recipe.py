"""Training recipes: their keys, defaults and limits. Unknown keys are errors; nothing is silently ignored."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from medley.data.augmentation import Augmentation
from medley.errors import MedleyError
from medley.models.zoo import is_multitask
from medley.runtime.configuration import Strict, checked, parse_setting, read_configuration
from medley.runtime.names import check_name
from medley.runtime.plugins import load_plugins
from medley.runtime.text import did_you_mean
from medley.tasks import TASKS, VOLUME_TASKS
from medley.training.losses import LOSSES
from medley.training.settings import Balance, Optimizer, Sampling, Validation

T = TypeVar("T", bound=BaseModel)

# Keys of older recipes and their names today.
RENAMED = {
    "optimiser": "optimizer",
    **{
        f"{group}.{old}": f"optimizer.{new}"
        for group in ("optimiser", "optimizer")
        for old, new in {
            "rate": "learning_rate",
            "final_rate": "final_learning_rate",
            "warmup": "warmup_steps",
            "clip": "gradient_clip",
        }.items()
    },
}
_WITHOUT_EFFECT = {"name", "output", "checkpoint_every", "devices"}  # on the weights of a run, but for rounding


class Recipe(Strict):
    """Keys of every training recipe.

    Attributes
    ----------
    name: of the weights file.
    plugins: Python files, relative to the recipe, that add networks, tasks, losses and metrics
        ([extending.md](extending.md)). They are run: use only files that you have read.
    model: name of the network, see `medley.models.zoo`.
    config: replaces parts of the network's configuration.
    store: folder of the prepared data.
    output: folder for checkpoints, TensorBoard scalars and weights.
    start: weights file of the same network to start from. None: random weights.
    seed: random seed.
    steps: number of optimization steps.
    balance: weights of the tasks' losses.
    aggregation: how the tasks' gradients are combined: "sum", or a method of torchjd that resolves conflicts on the
        parameters that several tasks share.
    optimizer: settings of the optimizer and the learning rate.
    ema: decay of the exponential moving average of the weights, which is validated and saved.
    ema_warmup: a smaller decay at first: in step k at most 1 - k^(-2/3), as in UniH3's program.
    precision: "32-true" or "bf16-mixed", as in Lightning Fabric.
    accelerator: as in Lightning Fabric, such as "auto", "cpu" or "cuda".
    devices: number of devices, each of which computes a part of every step; the result does not depend on it.
    micro_batch: samples in one pass through the network on a device; fewer need less memory. None: all samples of a
        step that the device computes.
    patience: the run ends after this many validations in a row without a better main score (mean relative change over
        all tasks), and the averaged weights of the best validation are saved. None: all steps, and the last weights.
    checkpoint_every: steps between checkpoints.
    """

    name: str
    plugins: tuple[Path, ...] = ()
    model: str
    config: dict[str, Any] = Field({})
    store: Path
    output: Path
    start: Path | None = None
    seed: int = 0
    steps: int = Field(gt=0)
    balance: Balance = Balance()
    aggregation: Literal["sum", "pcgrad", "mgda", "aligned-mtl", "imtl-g"] = "sum"
    optimizer: Optimizer = Optimizer()
    ema: float = Field(0.999, ge=0, lt=1)
    ema_warmup: bool = False
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    accelerator: str = "auto"
    devices: int = Field(1, gt=0)
    micro_batch: int | None = Field(None, gt=0)
    patience: int | None = Field(None, gt=0)
    checkpoint_every: int = Field(1000, gt=0)

    @field_validator("name")
    @classmethod
    def _file_name(cls, name: str) -> str:
        try:
            return check_name(name, "the name")
        except MedleyError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _one_pass_for_aggregation(self) -> Recipe:
        if self.aggregation != "sum" and self.devices > 1:
            raise ValueError(f"aggregation {self.aggregation} works on one device")
        if self.aggregation != "sum" and self.micro_batch:
            raise ValueError(f"aggregation {self.aggregation} cannot be combined with micro_batch")
        return self


class RestorationRecipe(Recipe):
    """Keys of a recipe for a restorer.

    Attributes
    ----------
    tasks: names of the tasks that are trained together.
    patch: side of a patch, in pixels.
    patches: number of patches in a step, of all tasks together.
    drop_neighbours: share of the patches whose slice is repeated in place of its neighbours, for networks that use
        these.
    voxel_exponent: the probability of a record is proportional to this power of its number of voxels.
    loss: "l1", the mean absolute error; "scaled", a pseudo-Huber penalty of the error in units of the typical
        degradation of the task, for networks that state it (`config.tasks` of slab); or the loss of a plugin.
    sampling: how often each task is drawn.
    identity_start: initialise the last convolution with zeros, so that the network starts as the identity. Not in the
        papers; short runs need it, since the noise of a CT is half a percent of its range.
    recompute: activation checkpointing: activations inside blocks are computed again in the backward pass instead of
        being stored. The gradients are the same; a step takes about a third longer and far less memory.
    validation: when and how to validate.
    """

    tasks: tuple[str, ...] = VOLUME_TASKS
    patch: int = Field(128, ge=16)
    patches: int = Field(12, gt=0)
    drop_neighbours: float = Field(0.2, ge=0, le=1)
    voxel_exponent: float = Field(0.5, ge=0, le=1)
    loss: str = "l1"
    sampling: Sampling = Sampling()
    identity_start: bool = False
    recompute: bool = False
    validation: Validation = Validation()

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [task for task in tasks if task not in TASKS]
        if unknown or not tasks:
            hint = did_you_mean(unknown[0], TASKS) if unknown else ""
            raise ValueError(f"expected some of {', '.join(TASKS)}{hint}")
        return tasks

    @field_validator("loss")
    @classmethod
    def _known_loss(cls, loss: str) -> str:
        try:
            LOSSES.named(loss)
        except MedleyError as error:
            raise ValueError(str(error)) from None
        return loss

    @model_validator(mode="after")
    def _shares_of_tasks(self) -> RestorationRecipe:
        if unknown := ", ".join(set(self.sampling.shares) - set(self.tasks)):
            raise ValueError(f"sampling.shares names {unknown}, which is not in tasks")
        return self

    @model_validator(mode="after")
    def _whole_batch(self) -> RestorationRecipe:
        if self.aggregation != "sum" and self.balance.by_sample:
            raise ValueError(f"aggregation {self.aggregation} cannot be combined with balance {self.balance.name}")
        if self.loss != "l1" and self.balance.by_sample:
            raise ValueError(f"balance {self.balance.name} has its own loss; it cannot be combined with {self.loss}")
        return self


class PredictionRecipe(Recipe):
    """Keys of a recipe for a multi-task network.

    Attributes
    ----------
    targets: names of the store's targets to predict. Empty: all of them.
    inputs: input channels: "image", and stored masks such as the structures or the region of a dose.
    batch: number of records in a step.
    augmentation: random rotation, scaling and change of intensity of the training records, beside mirroring.
    crop: size of the crops, in voxels along each axis. Empty: whole records.
    backbone: file with the weights of a ResNet to start from. None: random weights.
    class_weights: "equal", or "inverse": in inverse proportion to the frequency of a class in the training records.
    voxel_weights: for structures, "equal", or "inverse": the voxels inside have the same total weight as those outside.
    beyond_region: train a map outside its region too, where it is as stored (a dose is 0 there). Needed to predict
        whole scans; scores only cover the region.
    validate_every: steps between validations.
    """

    targets: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ("image",)
    batch: int = Field(8, gt=0)
    augmentation: Augmentation = Augmentation()
    crop: tuple[Annotated[int, Field(ge=16)], ...] = ()
    backbone: Path | None = None
    class_weights: Literal["equal", "inverse"] = "equal"
    voxel_weights: Literal["equal", "inverse"] = "equal"
    beyond_region: bool = False
    validate_every: int = Field(1000, gt=0)

    @field_validator("balance")
    @classmethod
    def _not_for_images_only(cls, balance: Balance) -> Balance:
        if balance.by_sample:
            raise ValueError(f"{balance.name} is for restorers; expected equal, fixed, uncertainty or dwa")
        return balance

    @field_validator("inputs")
    @classmethod
    def _with_image(cls, inputs: tuple[str, ...]) -> tuple[str, ...]:
        if not inputs or inputs[0] != "image":
            raise ValueError("the first input must be image")
        return inputs


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, with overrides "key=value" ("optimizer.learning_rate=1e-3"; values are YAML).

    Raises
    ------
    MedleyError: the file cannot be read; unknown keys or invalid values, all of which are named.
    """
    content = read_yaml(path, overrides)
    if "methods" in content:
        raise MedleyError(f"the recipe {path} is for a comparison; run `medley compare` with it")
    return make_recipe(content, f"the recipe {path}")


def read_yaml(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The keys and values of a YAML file, with overrides "key=value". Plugins are relative to the folder of the file.

    Raises
    ------
    MedleyError: the file cannot be read or does not hold keys and values; an override is malformed.
    """
    content = read_configuration(path, "the recipe")
    for override in overrides:
        _set(content, override)
    if isinstance(plugins := content.get("plugins"), list):
        content["plugins"] = [str(Path(path).parent / one) if isinstance(one, str) else one for one in plugins]
    return content


def make_recipe(content: Mapping[str, Any], what: str) -> Recipe:
    """The recipe with these keys, for a restorer or a multi-task network, depending on its model. Its plugins are run.

    Raises
    ------
    MedleyError: a plugin that cannot be used, an unknown model, unknown keys or invalid values, all of which are named
        after `what`.
    """
    plugins, model = content.get("plugins", ()), content.get("model")
    if not isinstance(plugins, list | tuple) or not all(isinstance(one, str | Path) for one in plugins):
        raise MedleyError(f"{what}: plugins must be a list of files, such as [my_network.py], but is {plugins!r:.60}")
    try:
        load_plugins(plugins)
        multitask = isinstance(model, str) and is_multitask(model)
    except MedleyError as error:
        raise MedleyError(f"{what}: {error}") from error
    return validated(PredictionRecipe if multitask else RestorationRecipe, content, what)


def validated(kind: type[T], content: Mapping[str, Any], what: str) -> T:
    """`content` as a `kind`.

    Raises
    ------
    MedleyError: unknown keys or invalid values, all of which are named after `what`.
    """
    if renamed := [f"{old} was renamed to {new}" for old, new in RENAMED.items() if _has(content, old)]:
        raise MedleyError(f"{what}: {'; '.join(renamed)}")
    return checked(kind, content, what)


def as_record(recipe: Recipe, *, resolve: bool = False) -> dict[str, Any]:
    """A recipe as plain JSON values.

    Absolute paths are reduced to their last part and a checksum, since a file that is passed on should not reveal the
    folders of one machine. With `resolve` all paths are absolute, without symbolic links. Of plugins, which are run if
    they have not been, the name and a checksum of the content are recorded.
    """
    values = recipe.model_dump(mode="json")
    for key in type(recipe).model_fields:
        path = getattr(recipe, key)
        if isinstance(path, Path):
            values[key] = str(path.resolve()) if resolve else _without_folders(path)
    values["plugins"] = load_plugins(recipe.plugins)
    return values


def _without_folders(path: Path) -> str:
    return f"{path.name}#{sha256(os.fsencode(path)).hexdigest()[:8]}" if path.is_absolute() else str(path)


def differing(record: Mapping[str, Any], recipe: Recipe, *, resolve: bool = False) -> list[str]:
    """Keys in which a record of `as_record` (with the same `resolve`) differs from a recipe.

    Keys that do not change the weights are ignored (name, output, checkpoint_every). A key that the record lacks, since
    an older medley wrote it, has its default.

    Raises
    ------
    MedleyError: the record has keys that were renamed since, so it cannot be compared.
    """
    if old := [name for name in RENAMED if _has(record, name)]:
        raise MedleyError(f"the run was made by an older medley, with other keys ({', '.join(old)}); train it again")
    now = as_record(recipe, resolve=resolve)
    defaults = {key: field.default for key, field in type(recipe).model_fields.items()}
    equal = {
        key
        for key, value in now.items()
        if (_completed(record[key], recipe, key) == value if key in record else getattr(recipe, key) == defaults[key])
    }
    return sorted({*record, *now} - equal - _WITHOUT_EFFECT)


def _completed(value: Any, recipe: Recipe, key: str) -> Any:
    """A value of a record; a group of keys (such as the optimizer) with its defaults."""
    group = type(getattr(recipe, key))
    if not issubclass(group, Strict):
        return value
    try:
        return group.model_validate(value).model_dump(mode="json")
    except ValidationError:
        return value


def _has(content: Mapping[str, Any], dotted: str) -> bool:
    value: Any = content
    for part in dotted.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return True


def _set(content: dict[str, Any], override: str) -> None:
    key, value = parse_setting(override)
    *parents, last = key.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise MedleyError(f"--set {override}: {parent} holds a value, not keys")
    content[last] = value
