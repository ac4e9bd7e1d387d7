"""One trained network, scored on a store: the rows of a comparison, for restorers and multi-task nets alike."""

from __future__ import annotations

from typing import Any

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
from medley.scoring.scores import ScoreRow

RESTORER_INPUT = (1, 128, 128)  # what the FLOPs of a restorer are counted for


def score_network(
    model: nn.Module, description: Description, store: Store, *, split: str, method: str, seed: int
) -> list[ScoreRow]:
    """A row a case and target (task, of a restorer), with what the network costs.

    Parameters
    ----------
    method, seed: what the rows say of themselves.

    Raises
    ------
    MedleyError: a restorer on a store of cases, or the other way round; the split has nothing for it.
    """
    if bool(description.problem) != (store.manifest.problem is not None):
        holds = "cases with targets" if store.manifest.problem else "scans to restore"
        raise MedleyError(f"{store.path} holds {holds}, but {description.name} gives {', '.join(description.tasks)}")
    found, shape = (
        _answers(model, description, store, split)
        if description.problem
        else _restored(model, description, store, split)
    )
    cost: dict[str, Any] = {
        "parameters": parameters(model),
        "flops": flops(model, shape),
        "seconds": float(description.training.get("seconds", 0)),
    }
    return [ScoreRow(method=method, seed=seed, **one, **cost) for one in found]


def _answers(
    model: nn.Module, description: Description, store: Store, split: str
) -> tuple[list[dict[str, Any]], tuple[int, ...]]:
    """task, subject, case and values of every row; the shape of the network's input."""
    reader = CaseReader(store, description.tasks, description.inputs)
    rows = [
        {"task": task, "subject": case.subject, "case": case.id, "values": values}
        for case in reader.cases(split)
        for task, values in score_case(model, reader, case, dvh=True).items()
    ]
    return rows, (reader.channels, *reader.problem.grid)


def _restored(
    model: nn.Module, description: Description, store: Store, split: str
) -> tuple[list[dict[str, Any]], tuple[int, ...]]:
    rows = [
        {
            "task": row.task,
            "subject": row.subject,
            "case": row.case,
            "values": {"psnr": row.psnr, "ssim": row.ssim, "rmse": row.rmse, "slices": row.slices},
        }
        for row in evaluate(Network(Restorer(model, description)), store, split=split)
    ]
    return rows, RESTORER_INPUT
