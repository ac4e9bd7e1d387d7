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
