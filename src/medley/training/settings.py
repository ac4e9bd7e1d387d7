"""Settings that are parts of a recipe: optimizer, validation, loss balance."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from medley.runtime.configuration import Strict


class Optimizer(Strict):
    """AdamW or Muon; the learning rate rises linearly during the warm-up, then follows half a cosine.

    Attributes
    ----------
    name: "adamw", or "muon": Muon for the weights of convolutions and linear layers of the network, AdamW for all other
        parameters, with one learning rate.
    learning_rate: the highest learning rate.
    muon_learning_rate: Muon as for UniH3 (arXiv 2609.11156): only for kernels of convolutions larger than 1x1, those of
        loss balancing too, with this highest learning rate and updates that are not scaled; AdamW for all else. None:
        see `name`.
    final_learning_rate: the learning rate at the last step.
    warmup_steps: steps until `learning_rate` is reached.
    betas: decay rates of AdamW's moments.
    epsilon: of AdamW.
    momentum: of Muon.
    weight_decay: decoupled, for the weights of convolutions and linear layers of the network only.
    decay_all: weight decay for all parameters, those of loss balancing too, as in UniH3's program.
    gradient_clip: the largest L2 norm of the gradient; longer gradients are scaled to it. None: no limit.
    """

    name: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(2e-4, gt=0)
    muon_learning_rate: float | None = Field(None, gt=0)
    final_learning_rate: float = Field(1e-7, ge=0)
    warmup_steps: int = Field(0, ge=0)
    betas: tuple[float, float] = (0.9, 0.99)
    epsilon: float = Field(1e-8, gt=0)
    momentum: float = Field(0.95, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    decay_all: bool = False
    gradient_clip: float | None = Field(None, gt=0)


class Validation(Strict):
    """Validation of a restorer during training.

    Attributes
    ----------
    every: steps between validations.
    slices: number of slices of each task.
    """

    every: int = Field(1000, gt=0)
    slices: int = Field(12, gt=0)


class Sampling(Strict):
    """How often each task is drawn. In a recipe, `sampling: NAME` is short for `sampling: {name: NAME}`.

    Attributes
    ----------
    name: "uniform", the same number of patches of each task in every step, or as `shares` states; "proportional", in
        proportion to the data; "temperature", in proportion to the data to the power 1 / `temperature`.
    temperature: of "temperature"; 1 is "proportional", a large one nearly uniform.
    shares: {task: share} of the patches of a step, for "uniform"; other tasks have the share 1.
    """

    name: Literal["uniform", "proportional", "temperature"] = "uniform"
    temperature: float | None = Field(None, gt=0)
    shares: dict[str, Annotated[int, Field(gt=0)]] = Field({})

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        if value == "mixed":
            raise ValueError("the sampling mixed of an older medley is proportional today")
        value = {"name": value} if isinstance(value, str) else value
        if isinstance(value, dict) and value.get("name") == "proportional":
            return {"temperature": 1.0, **value}
        return value

    @model_validator(mode="after")
    def _temperature_where_it_counts(self) -> Sampling:
        if (self.temperature is None) != (self.name == "uniform") or (
            self.name == "proportional" and self.temperature != 1
        ):
            raise ValueError('the name "temperature" needs a temperature, the others have none')
        if self.shares and self.name != "uniform":
            raise ValueError('shares belong to the name "uniform"')
        return self


class Balance(Strict):
    """The weight of each task's loss. In a recipe, `balance: NAME` is short for `balance: {name: NAME}`.

    Attributes
    ----------
    name: "equal"; "fixed", by `weights`; "uncertainty", learned (Kendall et al.); "dwa", by how fast each loss falls
        (dynamic weight average); "tat" and "unih3", learned for each sample (TAT, sec. 3.3; UniH3), for restorers only.
    weights: {task: factor} for "fixed"; other tasks have the factor 1.
    period: steps over which "dwa" averages a loss.
    temperature: of "dwa"; a large one makes the weights more equal.
    """

    name: Literal["equal", "fixed", "uncertainty", "dwa", "tat", "unih3"] = "equal"
    weights: dict[str, float] = Field({})
    period: int = Field(100, gt=0)
    temperature: float = Field(2.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def by_sample(self) -> bool:
        """Whether samples are weighted, not tasks."""
        return self.name in ("tat", "unih3")

    @model_validator(mode="after")
    def _weights_where_they_count(self) -> Balance:
        if bool(self.weights) != (self.name == "fixed"):
            raise ValueError('weights and the name "fixed" belong together')
        return self
