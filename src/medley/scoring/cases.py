"""A multi-task net's answers to a case in physical terms, and their scores."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from medley.data.cases import CaseDraw, CaseReader
from medley.data.store import Case, Store
from medley.metrics.answers import score_answer
from medley.problems import Target


@torch.inference_mode()
def answer_case(network: nn.Module, reader: CaseReader, case: Case) -> dict[str, np.ndarray]:
    """The network's answers to a case, on the store's grid.

    Returns
    -------
    Structures: probabilities (K, *spatial). A map: (*spatial) in its unit, 0 outside its region. Classes: probabilities
    (K,).
    """
    sample = reader(CaseDraw(case))
    device = next(network.parameters()).device
    outputs = network(torch.from_numpy(sample.input)[None].to(device))
    answers = {}
    for target in reader.targets:
        output = outputs[target.name][0].float().cpu()
        if target.kind == "map":
            region = torch.from_numpy(sample.counts[target.name])
            answers[target.name] = target.decode(output, region)[0].numpy()
        else:
            answers[target.name] = target.decode(output).numpy()
    return answers


def score_case(network: nn.Module, reader: CaseReader, case: Case, *, dvh: bool = False) -> dict[str, dict[str, float]]:
    """The numbers of each target that the case has (`medley.metrics.answers.score_answer`).

    `dvh`: those of the dose-volume histogram too, of all structures that were drawn.
    """
    answers = answer_case(network, reader, case)
    scores = {target.name: _score(reader.store, case, target, answers[target.name], dvh) for target in reader.targets}
    return {name: one for name, one in scores.items() if one}


def drawn_masks(store: Store, case: Case) -> dict[str, np.ndarray]:
    """The structures that were drawn for a case, (*spatial) bool each."""
    masks: dict[str, np.ndarray] = {}
    for name, drawn in case.drawn.items():
        names = problem_names(store, name)
        array = np.asarray(store.array(case, name)[...])
        masks |= {one: array[names.index(one)] > 0 for one in drawn}
    return masks


def problem_names(store: Store, target: str) -> tuple[str, ...]:
    """The structures of a target of the store's problem."""
    assert store.manifest.problem is not None
    return store.manifest.problem.target(target).names


def _score(store: Store, case: Case, target: Target, answer: np.ndarray, dvh: bool) -> dict[str, float]:
    if target.kind == "classes":
        label = case.labels.get(target.name)
        return score_answer(target, answer, label) if label is not None else {}
    if target.kind == "structures":
        drawn = case.drawn.get(target.name, ())
        if not drawn:
            return {}
        truth = np.asarray(store.array(case, target.name)[...])
        return score_answer(target, answer, truth, drawn=drawn)
    if target.name not in case.maps:
        return {}
    truth = np.asarray(store.array(case, target.name)[0])
    within = np.asarray(store.array(case, target.within)[0]) if target.within else None
    masks = drawn_masks(store, case) if dvh else None
    return score_answer(target, answer, truth, spacing=case.spacing, within=within, masks=masks)
