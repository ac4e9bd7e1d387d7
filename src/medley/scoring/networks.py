"""Scores of one trained network, a restorer or a predictor, on a store."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from medley.data.cases import CaseReader
from medley.data.store import Store
from medley.errors import MedleyError
from medley.inference.restorer import Restorer
from medley.models.cost import flops, parameters
from medley.models.weights import Description
from medley.scoring.cases import score_case
from medley.scoring.evaluate import evaluate
from medley.scoring.methods import Network
from medley.scoring.rows import ScoreRow

RESTORER_INPUT = (1, 128, 128)  # shape for which the FLOPs of a restorer are counted


def score_network(
    model: nn.Module, description: Description, store: Store, *, split: str, method: str, seed: int
) -> list[ScoreRow]:
    """One row per record and target, including the cost of the network.

    Parameters
    ----------
    method, seed: the method's name and the random seed of its training, for the rows.

    Raises
    ------
    MedleyError: a restorer on a store of cases with targets, or a predictor on a store of scans to restore; the split
        contains nothing that the network can be scored on.
    """
    if bool(description.problem) != (store.manifest.problem is not None):
        contents = "cases with targets" if store.manifest.problem else "scans to restore"
        raise MedleyError(
            f"{store.path} contains {contents}, but the outputs of {description.name} are "
            f"{', '.join(description.tasks)}"
        )
    score = _score_predictor if description.problem else _score_restorer
    rows, shape = score(model, description, store, split)
    if not rows:
        raise MedleyError(f"the split {split!r} of {store.path} contains no record to score {description.name} on")
    count, operations = parameters(model), flops(model, shape)
    seconds = float(description.training.get("seconds", 0))
    return [replace(row, method=method, seed=seed, parameters=count, flops=operations, seconds=seconds) for row in rows]


def _score_predictor(
    model: nn.Module, description: Description, store: Store, split: str
) -> tuple[list[ScoreRow], tuple[int, ...]]:
    """The rows, and the shape of the network's input."""
    reader = CaseReader(store, description.tasks, description.inputs)
    cases = reader.cases(split)
    for case in cases:
        store.verify(case)
    rows = [
        ScoreRow(
            method=description.name,
            task=reader.problem.name,
            target=target,
            subject=case.subject,
            record=case.id,
            split=split,
            values=values,
        )
        for case in cases
        for target, values in score_case(model, reader, case, dvh=True).items()
    ]
    return rows, (reader.channels, *reader.problem.grid)


def _score_restorer(
    model: nn.Module, description: Description, store: Store, split: str
) -> tuple[list[ScoreRow], tuple[int, ...]]:
    return evaluate(Network(Restorer(model, description)), store, split=split), RESTORER_INPUT
