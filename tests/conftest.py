"""Fixtures of all tests."""

import os
import signal
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """Handle the signals that tests send: in the background Ctrl-C is ignored, and under nohup a hang-up."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.name == "posix":
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def forget():
    """A function that forgets all plugins, as in a new process; it is called after the test too."""
    from medley.runtime import plugins
    from medley.runtime.registry import remove_registered

    def forget() -> None:
        remove_registered(0)
        plugins._loaded.clear()

    yield forget
    forget()


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
    return _small_store(tmp_path)


@pytest.fixture
def case_store(tmp_path):
    """A store of cases with three targets: discs, their distance map, whether there is one or two. Eight people for
    training, four for validation and as many for testing; the first of each lacks labels.
    """
    return _case_store(tmp_path)


@pytest.fixture(scope="session")
def make_small_store():
    """Makes `small_store` in a folder."""
    return _small_store


@pytest.fixture(scope="session")
def make_case_store():
    """Makes `case_store` in a folder."""
    return _case_store


def _small_store(folder):
    """See `small_store`."""
    import numpy as np

    from medley.data.record import Record
    from medley.data.store import Store, StoreWriter
    from medley.tasks import TASKS

    path = folder / "store"
    writer = StoreWriter(path, {"made": "by hand"}, TASKS)
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
        record = Record(
            id=f"scan-{number}", subject=f"person-{number}", split=split, task=task, shape=shape,
            spacing=(2.0, 1.0, 1.0), normalisation=of.normalisation,
            degradation={"name": "by hand", "parameters": {}}, source=f"scan-{number}.nii.gz",
        )  # fmt: skip
        arrays = {"input": noisy, "image": target}
        writer.add(record, {name: array[None].astype(np.float32) for name, array in arrays.items()})
    writer.finish()
    return Store(path)


def _case_store(folder):
    """See `case_store`."""
    import numpy as np

    from medley.data.record import Record
    from medley.data.store import Store, StoreWriter
    from medley.targets import Target
    from medley.tasks import Task

    side = 32
    task = Task(
        name="discs", title="Discs", channels=("grey",), range=(0, 200), grid=(side, side), flips=(0, 1),
        targets=(
            Target(name="dose", kind="map", unit="Gy", scale=10, within="region"),
            Target(name="segmentation", kind="structures", names=("left", "right"), swaps=(("left", "right"),)),
            Target(name="diagnosis", kind="classes", names=("one", "two")),
        ),
    )  # fmt: skip
    writer = StoreWriter(folder / "cases", {"made": "by hand"}, {task.name: task})
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:side, :side]
    for number in range(16):
        split = "train" if number < 8 else "valid" if number < 12 else "test"
        discs = np.stack([np.hypot(row - 16, column - at) < rng.uniform(3, 5) for at in (8, 24)])
        discs[1] &= bool(number % 2)
        first = number in (0, 8, 12)
        drawn = ("left",) if first else ("left", "right") if number % 2 else ("left",)
        arrays = {
            "input": (discs.sum(0) * 150 + rng.normal(20, 10, (side, side)))[None].clip(0, 255).astype(np.uint8),
            "segmentation": discs.astype(np.uint8),
            "dose": 8.0 * np.exp(-(((row - 16) / 8) ** 2))[None].astype(np.float32),
            "region": (np.abs(row - 16) < 12)[None].astype(np.uint8),
        }
        if first:
            del arrays["dose"], arrays["region"]
        record = Record(
            id=f"case-{number}", task=task.name, normalisation=task.normalisation, subject=f"person-{number}",
            split=split, shape=(side, side), spacing=(2.0, 2.0),
            drawn={"segmentation": drawn}, labels={} if first else {"diagnosis": ("one", "two")[number % 2]},
            source=f"{number}.png",
        )  # fmt: skip
        writer.add(record, arrays)
    writer.finish()
    return Store(folder / "cases")


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """The store of tests/made_store.py: discs, in the units of the three tasks, and their noisy partners."""
    return _module("made_store").make(tmp_path_factory.mktemp("store") / "store")


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


@pytest.fixture(scope="session")
def subjects():
    """The module tests/made_subjects.py: stores of many small subjects."""
    return _module("made_subjects")


def _module(name):
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
