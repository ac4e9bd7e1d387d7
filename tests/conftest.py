"""What every test may ask for."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference tensors and real scans beside the checkout; tests that need it are skipped without it."""
    folder = Path(os.environ.get("MEDLEY_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "fixtures").is_dir():
        pytest.skip(f"the reference tensors and real scans are not at {folder}")
    return folder


@pytest.fixture
def small_store(tmp_path):
    """A store of smooth pictures and their noisy partners: CT and PET, two people for training, two for validation."""
    import numpy as np

    from medley.data.store import Entry, Store, StoreWriter
    from medley.tasks import TASKS, Normalisation

    path = tmp_path / "store"
    writer = StoreWriter(path, {"made": "by hand"})
    rng = np.random.default_rng(0)
    for number, (task, split) in enumerate(
        [("ct-denoise", "train"), ("pet-denoise", "train"), ("ct-denoise", "valid"), ("pet-denoise", "valid")]
    ):
        of = TASKS[task]
        shape = (3, 40 + 3 * number, 36)
        low, high = of.window
        row, column = np.mgrid[: shape[1], : shape[2]] / 40
        target = low + (high - low) * np.stack([(np.sin(5 * row + k) * np.cos(4 * column) + 1) / 2 for k in range(3)])
        noisy = target + rng.normal(0, 0.1 * (high - low), shape)
        entry = Entry(
            id=f"scan-{number}", subject=f"person-{number}", split=split, task=task, modality=of.modality,
            unit=of.unit, shape=shape, spacing=(1.0, 1.0), normalisation=Normalisation(*of.range),
            degradation={"name": "by hand", "parameters": {}}, source=f"scan-{number}.nii.gz",
        )  # fmt: skip
        writer.add(entry, zip(noisy.astype(np.float32), target.astype(np.float32), strict=True))
    return Store(path)


@pytest.fixture(scope="session")
def phantoms():
    """The module tests/phantoms.py: writers of small DICOM series, sound or spoilt."""
    return _module("phantoms")


@pytest.fixture(scope="session")
def rt():
    """The module tests/rt_phantoms.py: writers of small radiotherapy patients, sound or spoilt."""
    return _module("rt_phantoms")


@pytest.fixture(scope="session")
def made_scores():
    """The module tests/made_scores.py: rows of comparisons with known effects."""
    return _module("made_scores")


def _module(name):
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
