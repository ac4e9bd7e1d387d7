"""Adaptation of a trained network to the scans, or the plans, of one department.

Everything is kept in a work folder, so that the same call continues after an interruption:

    plan.json            the model, and the scans with their split and noise
    store/               the records (`medley.data.store`)
    step-seconds.json    the measured time of a training step
    run/                 checkpoints and weights (`medley.training.loop`)
    scores.csv           the scores of the old and the new weights on the held-back subjects
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import medley
from medley.data.store import Store
from medley.errors import MedleyError
from medley.experiments.adapt_records import Plan, Progress, Source, enough, make_records
from medley.experiments.step_time import step_seconds
from medley.inference.loading import Loaded, load_network, usable_device
from medley.metrics.measures import is_measure
from medley.models import weights
from medley.models.weights import Description
from medley.runtime.locks import locked
from medley.scoring.evaluate import score_network
from medley.scoring.rows import ScoreRow, write_scores
from medley.scoring.statistics import Estimate, MethodScore, Verdict, compare_methods, higher_is_better, verdict
from medley.training.checkpoint import Checkpoints
from medley.training.loop import Progress as TrainingProgress
from medley.training.loop import train
from medley.training.recipe import Recipe, make_recipe

BEFORE, AFTER = "before", "after"  # the names of the weights in the table of scores
# What is taken from the recipe that the network was trained with.
_KEPT = {
    "patch", "patches", "drop_neighbours", "voxel_exponent", "loss", "balance", "micro_batch", "recompute",
    "batch", "crop", "augmentation", "class_weights", "voxel_weights", "beyond_region",
}  # fmt: skip
_OF_DATA = {"targets", "dimension", "channels"}  # arguments of a network that follow from the records
_OPTIMIZER = {"learning_rate": 5e-4, "final_learning_rate": 1e-6, "warmup_steps": 20, "gradient_clip": 1.0}
_NEVER = 10**9  # steps


@dataclass(frozen=True)
class Outcome:
    """The main score of one task (or target) before and after adaptation, on the held-back subjects.

    Attributes
    ----------
    difference: after - before, with its 95 % interval over subjects; NaN at both ends for few subjects.
    subjects, records: numbers of those that were held back.
    verdict: by the interval; without one, "better" or "worse" if every single record is.
    """

    task: str
    score: str
    before: float
    after: float
    difference: Estimate
    subjects: int
    records: int
    verdict: Verdict


@dataclass(frozen=True)
class Adaptation:
    """A finished adaptation.

    Attributes
    ----------
    old, new: the network before and after. recipe: of the training. plan: None if a store was given.
    store: the records. seconds: of one training step, as measured before. outcomes: one for each task or target.
    """

    old: Loaded
    new: Loaded
    recipe: Recipe
    plan: Plan | None
    store: Store
    seconds: float
    outcomes: tuple[Outcome, ...]

    @property
    def improved(self) -> tuple[str, ...]:
        """The tasks (or targets) in which the new weights are better."""
        return tuple(one.task for one in self.outcomes if one.verdict == "better")

    @property
    def unchecked(self) -> tuple[str, ...]:
        """The tasks of the old weights without scans, or with too few: not trained, and not checked."""
        checked = [one.task for one in self.outcomes]
        return tuple(task for task in self.old.description.tasks if task not in checked)


def adapt(
    source: Source,
    work: Path,
    model: Path,
    *,
    name: str,
    minutes: float = 30.0,
    seed: int = 0,
    plugins: Sequence[Path] = (),
    progress: Progress = lambda done, total, name: None,
) -> Adaptation:
    """Fine-tune a network on a department's own scans, and score it before and after on held-back subjects.

    Parameters
    ----------
    work: folder for all that is made. model: the weights to start from. name: of the new weights.
    minutes: of training. With the same work folder, a longer time continues a finished training.
    seed: random seed. progress: called with (steps done, number of steps, the current one).
    plugins: Python files that the network, its tasks or the layout need; the recipe names them.

    Raises
    ------
    MedleyError: as `medley.experiments.adapt_records.make_records` and `medley.training.loop.train`; a network that
        cannot be trained.
    """
    if model.suffix != weights.SUFFIX:
        raise MedleyError(f"{model}: an exported network cannot be trained; give its weights ({weights.SUFFIX})")
    old = load_network(model, "cpu")
    with locked(work, "adapting"):
        plan, store = make_records(source, work, old, seed=seed, progress=progress)
        tasks = _tasks(store, old.description)
        recipe = _recipe(old.description, tasks, store.path, work / "run", name, model, seed, plugins)
        progress(0, 1, "measuring the time of a training step")
        seconds = step_seconds({"adaptation": [recipe]}, work)["adaptation"]
        recipe = recipe.model_copy(update={"steps": max(1, round(60 * minutes / seconds))})

        def report(now: TrainingProgress) -> None:
            progress(now.step, now.steps, f"training, loss {now.loss:.5f}")

        trained = train(recipe, resume=Checkpoints(recipe.output).exist(), progress=report)
        new = load_network(trained, "cpu")
        rows = []
        for k, (method, network) in enumerate({BEFORE: old, AFTER: new}.items()):
            progress(k, 2, f"scoring the weights {method} training")
            rows += [row for row in _scored(network, store, method) if row.title in tasks]
        header = {"experiment": f"adaptation of {old.description.name}", "baseline": BEFORE, "split": "valid"}
        write_scores(rows, work / "scores.csv", header={**header, "medley": medley.__version__}, overwrite=True)
    return Adaptation(old, new, recipe, plan, store, seconds, outcomes(rows))


def outcomes(rows: Sequence[ScoreRow]) -> tuple[Outcome, ...]:
    """What changed in each task or target, from the score rows of the methods `BEFORE` and `AFTER`."""
    # A measure such as sharpness may be defined for the images of one network only; it does not decide.
    scores = [{name: value for name, value in row.values.items() if not is_measure(name)} for row in rows]
    rows = [replace(row, values=values) for row, values in zip(rows, scores, strict=True)]
    comparison = compare_methods(rows, baseline=BEFORE)
    found = []
    for task, (score, *_) in comparison.tasks.items():
        old, new = (comparison.findings[task, score, name] for name in (BEFORE, AFTER))
        assert new.difference is not None
        of_task = [row for row in rows if row.title == task and row.method == AFTER]
        higher = higher_is_better(score)
        has_interval = np.isfinite(new.difference.low)
        found.append(
            Outcome(
                task=task,
                score=score,
                before=old.estimate.value,
                after=new.estimate.value,
                difference=new.difference,
                subjects=len({row.subject for row in of_task}),
                records=len(of_task),
                verdict=verdict(new.difference, higher=higher) if has_interval else _unanimous(old, new, score),
            )
        )
    return tuple(found)


def save(result: Adaptation, path: Path) -> None:
    """Write the new weights, for the tasks in which they are better only.

    Raises
    ------
    MedleyError: they are better in no task; the file cannot be written.
    """
    if not result.improved:
        raise MedleyError(f"{path}: the new weights are better in no task, so they are not written")
    new = result.new.description
    origin = {"name": result.old.description.name, "sha256": result.old.sha256}
    description = replace(new, tasks=result.improved, training={**new.training, "adapted_from": origin})
    weights.save(path, result.new.model, description)


def _unanimous(old: MethodScore, new: MethodScore, score: str) -> Verdict:
    """The verdict that all records agree on, for few subjects; "" if they do not."""
    # Of classes the cases are probabilities of the true one.
    gains = new.cases - old.cases if score == "auroc" or higher_is_better(score) else old.cases - new.cases
    if gains.size and (gains > 0).all():
        return "better"
    return "worse" if gains.size and (gains < 0).all() else ""


def _tasks(store: Store, description: Description) -> tuple[str, ...]:
    """The tasks of a restorer that are trained, those with training and held-back subjects; targets of a predictor."""
    names = (store.prediction_task().name,) if description.task else description.tasks
    records = {name: [one for one in store.records(task=name) if one.split != "test"] for name in names}
    people = {name: {one.subject: one.split for one in found} for name, found in records.items() if found}
    splits = {subject: split for stated in people.values() for subject, split in stated.items()}
    usable = enough(people, splits, store.path)
    return description.tasks if description.task else usable


def _recipe(
    description: Description,
    tasks: tuple[str, ...],
    store: Path,
    output: Path,
    name: str,
    start: Path,
    seed: int,
    plugins: Sequence[Path],
) -> Recipe:
    """The recipe of one step, with what is kept of the recipe that the network was trained with."""
    trained = description.training.get("recipe", {})
    content: dict[str, Any] = {key: trained[key] for key in _KEPT if key in trained}
    content |= {"name": name, "model": description.architecture, "store": store, "output": output, "start": start}
    content |= {"seed": seed, "steps": 1, "optimizer": _OPTIMIZER, "ema": 0.999, "ema_warmup": True}
    content |= {"checkpoint_every": 100, "plugins": [*plugins]}
    if description.task:
        config = {key: value for key, value in description.config.items() if key not in _OF_DATA}
        content |= {"config": config, "targets": tasks, "inputs": description.inputs, "validate_every": _NEVER}
    else:
        each = max(1, round(content.get("patches", 6) / len(tasks)))
        content |= {"config": dict(description.config), "tasks": tasks, "patches": each * len(tasks)}
        content |= {"validation": {"every": _NEVER, "slices": 4 * len(tasks)}}
    return make_recipe(content, f"the recipe that {description.name} was trained with")


def _scored(network: Loaded, store: Store, method: str) -> list[ScoreRow]:
    model = network.model.to(usable_device("auto"))
    return score_network(model, network.description, store, split="valid", method=method, seed=0)
