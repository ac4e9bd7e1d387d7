"""The noise of the training targets of a store."""

import numpy as np
import pytest

from medley.data.record import Record
from medley.data.store import Store, StoreWriter
from medley.data.target_noise import target_noise
from medley.tasks import TASKS


def test_it_is_the_median_of_the_training_targets_of_each_task(tmp_path) -> None:
    task = TASKS["ct-denoise"]
    writer = StoreWriter(tmp_path / "store", {"made": "by hand"}, TASKS)
    rng = np.random.default_rng(0)
    for number, (std, split) in enumerate([(10, "train"), (20, "train"), (30, "train"), (90, "valid")]):
        record = Record(
            id=f"scan-{number}", subject=f"person-{number}", split=split, task=task.name, shape=(3, 64, 64),
            spacing=(2.0, 1.0, 1.0), normalisation=task.normalisation,
            degradation={"name": "by hand", "parameters": {}}, source=f"scan-{number}.nii.gz",
        )  # fmt: skip
        target = rng.normal(40, std, (1, 3, 64, 64)).astype(np.float32)
        writer.add(record, {"input": target + 100, "image": target})
    writer.finish()
    found = target_noise(Store(tmp_path / "store"), ("ct-denoise", "mr-sr"))
    assert found == {"ct-denoise": pytest.approx(20, rel=0.1)}
