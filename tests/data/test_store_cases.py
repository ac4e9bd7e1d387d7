import json

import numpy as np
import pytest

from medley.data.store import Case, Store, StoreWriter
from medley.errors import MedleyError
from medley.problems import Problem, Target

PROBLEM = Problem(
    name="made",
    title="Made by hand",
    channels=("CT",),
    range=(-1000, 1000),
    grid=(4, 5, 6),
    targets=(
        Target(name="dose", kind="map", unit="Gy", within="region"),
        Target(name="organs", kind="structures", names=("Heart", "Lung")),
        Target(name="outcome", kind="classes", names=("good", "bad")),
    ),
)
WHOLE = Case(
    id="a",
    subject="Ann",
    split="train",
    shape=(4, 5, 6),
    spacing=(3, 2, 2),
    drawn={"organs": ("Lung",)},
    labels={"outcome": "bad"},
    maps=("dose",),
    source="a.npz",
)
LABEL_ONLY = Case(id="b", subject="Bob", split="valid", shape=(4, 5, 6), labels={"outcome": "good"})


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(-1000, 1000, (1, 4, 5, 6), np.int16),
        "organs": rng.integers(0, 2, (2, 4, 5, 6), np.uint8),
        "dose": rng.random((1, 4, 5, 6), np.float32),
        "region": rng.integers(0, 2, (1, 4, 5, 6), np.uint8),
    }


@pytest.fixture
def store(tmp_path):
    writer = StoreWriter(tmp_path / "store", {"layout": "made"}, PROBLEM)
    writer.add_case(WHOLE, arrays())
    writer.add_case(LABEL_ONLY, {"image": arrays(1)["image"]})
    return Store(tmp_path / "store")


def test_what_is_written_is_read(store):
    assert store.manifest.problem == PROBLEM
    listed = [[case.model_copy(update={"checksums": {}}) for case in store.cases(split)] for split in (None, "valid")]
    assert listed == [[WHOLE, LABEL_ONLY], [LABEL_ONLY]]
    for name, values in arrays().items():
        array = store.array(WHOLE, name)
        np.testing.assert_array_equal(array[...], values)
        assert array.dtype == values.dtype
        assert array.chunks == values.shape  # one read a case


def test_a_target_that_a_case_lacks_is_said(store):
    with pytest.raises(MedleyError, match="case b has no dose"):
        store.array(LABEL_ONLY, "dose")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dose": None}, r"the arrays \['image', 'organs', 'region'\] came, but"),
        ({"heat": np.zeros(3)}, "'heat'"),
        ({"dose": np.zeros((4, 5, 6), np.float32)}, r"dose is float32 \(4, 5, 6\), expected float32 \(1, 4, 5, 6\)"),
        ({"organs": np.zeros((2, 4, 5, 6), bool)}, "organs is bool .* expected uint8"),
        ({"image": np.zeros((1, 4, 5, 6))}, "image is float64 .* expected uint8 or int16 or float32"),
    ],
)
def test_arrays_that_the_problem_does_not_ask_for_are_a_fault(tmp_path, changed, message):
    writer = StoreWriter(tmp_path / "store", {}, PROBLEM)
    given = {name: array for name, array in {**arrays(), **changed}.items() if array is not None}
    with pytest.raises(ValueError, match=message):
        writer.add_case(WHOLE, given)
    assert not (tmp_path / "store").exists()


def test_cases_need_a_problem(tmp_path):
    with pytest.raises(ValueError, match="without a problem"):
        StoreWriter(tmp_path / "store", {}).add_case(WHOLE, arrays())


def test_a_store_for_another_problem_is_refused(store):
    other = PROBLEM.model_copy(update={"range": (0, 1), "spacing": (1, 1, 1)})
    with pytest.raises(MedleyError, match=r"other settings \(another range, spacing of the problem\)"):
        StoreWriter(store.path, {"layout": "made"}, other)
    assert "a" in StoreWriter(store.path, {"layout": "made"}, PROBLEM)


def test_a_case_cut_off_half_way_is_written_anew(store):
    case = WHOLE.model_copy(update={"id": "late"})
    left = store.path / "cases" / ".late.partial" / "image"
    left.mkdir(parents=True)
    (store.path / "cases" / "late").mkdir()  # moved, but the manifest never named it
    writer = StoreWriter(store.path, {"layout": "made"}, PROBLEM)
    assert "late" not in writer
    writer.add_case(case, arrays(2))
    again = Store(store.path)
    np.testing.assert_array_equal(again.array(again.cases()[-1], "dose")[...], arrays(2)["dose"])
    assert not left.exists()


def test_a_store_from_before_there_were_cases_opens(small_store):
    file = small_store.path / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["problem"], manifest["cases"]
    file.write_text(json.dumps(manifest))
    store = Store(small_store.path)
    assert store.cases() == []
    assert store.manifest.problem is None
    assert store.entries() == small_store.entries()
