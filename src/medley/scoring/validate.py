"""How good the network is so far: PSNR on a few slices of the validation subjects."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from medley.data.store import Store
from medley.inference.restorer import Restorer
from medley.metrics.image import score
from medley.models.weights import Description


def validate(
    network: nn.Module, description: Description, store: Store, slices: int, device: torch.device
) -> dict[str, float]:
    """Mean PSNR in dB in the papers' protocol, for each task that has validation subjects.

    `slices` slices of each task, spread evenly over its volumes and, within a volume, in the middle half of it.
    """
    restorer = Restorer(network.eval(), description, device=device)
    result = {}
    for task in description.tasks:
        entries = store.entries("valid", task)
        scores = []
        for k in range(slices if entries else 0):
            entry = entries[k % len(entries)]
            at = entry.shape[0] // 4 + (k * 7) % max(entry.shape[0] // 2, 1)
            low, target = (np.asarray(array[at : at + 1]) for array in (store.input(entry), store.target(entry)))
            restored = restorer.restore_slices(low, task, entry.normalisation)
            scores.append(score(restored, target, task, full_scale=entry.normalisation.high)["psnr"])
        if scores:
            result[task] = float(np.nanmean(scores))
    return result
