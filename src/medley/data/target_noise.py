"""The noise of the training targets of a store, to which `restore --strength auto` brings a scan."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from medley.data.store import Store
from medley.inference.noise import measured_slices, noise_of_slices
from medley.slabs import UNKNOWN
from medley.targets import IMAGE

RECORDS = 30  # at most, of each task


def target_noise(store: Store, tasks: Iterable[str]) -> dict[str, float]:
    """{task: noise}: the median over the targets of some training records of each restoration task.

    Noise is that of `medley.inference.noise`. Tasks are left out where it cannot be measured.
    """
    found: dict[str, float] = {}
    for name in tasks:
        records = store.records("train", name)
        values = []
        for record in records[:: -(-len(records) // RECORDS) or 1]:
            array, spacing = store.array(record, IMAGE), record.spacing or UNKNOWN
            slices = (array[0, k] for k in measured_slices(array.shape[1]))
            noise = noise_of_slices(slices, store.task(record), record.normalisation, spacing)
            if noise is not None:
                values.append(noise)
        if values:
            found[name] = round(float(np.median(values)), 4)
    return found
