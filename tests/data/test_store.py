import json
import shutil

import numpy as np
import pytest

from medley.data.record import JOURNAL, MANIFEST, Record
from medley.data.store import Store, StoreWriter
from medley.errors import MedleyError
from medley.targets import Target
from medley.tasks import TASKS, Task

TASK = Task(
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
TASKS_OF_STORE = {"made": TASK}
COMMON = {"task": "made", "shape": (4, 5, 6), "normalisation": TASK.normalisation}
WHOLE = Record(
    id="a",
    subject="Ann",
    split="train",
    spacing=(3, 2, 2),
    drawn={"organs": ("Lung",)},
    labels={"outcome": "bad"},
    source="a.npz",
    **COMMON,
)
LABEL_ONLY = Record(id="b", subject="Bob", split="valid", labels={"outcome": "good"}, **COMMON)


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "input": rng.integers(-1000, 1000, (1, 4, 5, 6), np.int16),
        "organs": rng.integers(0, 2, (2, 4, 5, 6), np.uint8),
        "dose": rng.random((1, 4, 5, 6), np.float32),
        "region": rng.integers(0, 2, (1, 4, 5, 6), np.uint8),
    }


@pytest.fixture
def targets_store(tmp_path):
    writer = StoreWriter(tmp_path / "targets", {"layout": "made"}, TASKS_OF_STORE)
    writer.add(WHOLE, arrays())
    writer.add(LABEL_ONLY, {"input": arrays(1)["input"]})
    return Store(tmp_path / "targets")


def pair(record, value=1.0):
    return {name: np.full((1, *record.shape), value, np.float32) for name in ("input", "image")}


def test_restoration_records_are_read_as_they_were_written(small_store):
    [record] = small_store.records("valid", "ct-denoise")
    before, image = (small_store.array(record, name) for name in ("input", "image"))
    assert before.shape == image.shape == (1, *record.shape) == (1, 3, 46, 36)
    assert image.chunks == (1, 1, 46, 36)  # one read per slice
    assert before[0, 1].dtype == np.float32
    assert not np.array_equal(before[0, 1], image[0, 1])
    assert small_store.restores


def test_records_with_targets_are_read_as_they_were_written(targets_store):
    assert targets_store.prediction_task() == TASK
    assert not targets_store.restores
    listed = [
        [record.model_copy(update={"checksums": {}}) for record in targets_store.records(split)]
        for split in (None, "valid")
    ]
    assert listed == [[WHOLE, LABEL_ONLY], [LABEL_ONLY]]
    whole = targets_store.records()[0]
    for name, values in arrays().items():
        array = targets_store.array(whole, name)
        np.testing.assert_array_equal(array[...], values)
        assert array.dtype == values.dtype
        assert array.chunks == values.shape  # one read per record
    assert set(whole.checksums) == set(arrays())


def test_a_record_knows_its_targets(targets_store):
    whole, label_only = targets_store.records()
    dose, organs, outcome = TASK.targets
    assert [whole.has(target) for target in TASK.targets] == [True, True, True]
    assert [label_only.has(target) for target in TASK.targets] == [False, False, True]
    assert [whole.has(organs, name) for name in organs.names] == [False, True]
    assert [whole.has(outcome, name) for name in outcome.names] == [False, True]
    assert not label_only.has(dose, "")


def test_records_are_selected_by_split_and_task(small_store):
    assert [one.id for one in small_store.records()] == ["scan-0", "scan-1", "scan-2", "scan-3"]
    assert [one.id for one in small_store.records("train")] == ["scan-0", "scan-1"]
    assert [one.id for one in small_store.records(task="pet-denoise")] == ["scan-1", "scan-3"]


def test_a_missing_target_is_reported(targets_store, small_store):
    with pytest.raises(MedleyError, match="b has no dose"):
        targets_store.array(targets_store.records()[1], "dose")
    with pytest.raises(MedleyError, match="contains scans to restore, but records with other targets are needed"):
        small_store.prediction_task()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dose": None}, r"the arrays are \['input', 'organs', 'region'\], but \['input', 'organs'\] are expected"),
        ({"organs": None}, r"but \['dose', 'input', 'organs', 'region'\] are expected"),
        ({"region": None}, r"but .*'region'\] are expected"),
        ({"heat": np.zeros(3)}, "'heat'"),
        ({"dose": np.zeros((4, 5, 6), np.float32)}, r"dose is float32 \(4, 5, 6\), expected float32 \(1, 4, 5, 6\)"),
        ({"organs": np.zeros((2, 4, 5, 6), bool)}, "organs is bool .* expected uint8"),
        ({"input": np.zeros((1, 4, 5, 6))}, "input is float64 .* expected uint8 or int16 or float32"),
        ({"input": np.zeros((1, 3, 5, 6), np.int16)}, r"input is int16 \(1, 3, 5, 6\), expected .* \(1, 4, 5, 6\)"),
    ],
)
def test_arrays_that_do_not_fit_the_task_are_refused_before_writing(tmp_path, changed, message):
    writer = StoreWriter(tmp_path / "store", {}, TASKS_OF_STORE)
    given = {name: array for name, array in {**arrays(), **changed}.items() if array is not None}
    with pytest.raises(ValueError, match=message):
        writer.add(WHOLE, given)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["input", "image"])
def test_missing_slices_are_refused_before_writing(small_store, tmp_path, name):
    record = small_store.records()[0]
    incomplete = {**pair(record), name: pair(record)[name][:, :-1]}
    with pytest.raises(ValueError, match=rf"{name} is float32 \(1, 2, 40, 36\), expected .*float32 \(1, 3, 40"):
        StoreWriter(tmp_path / "new", {}, TASKS).add(record, incomplete)
    with pytest.raises(ValueError, match="are expected"):
        StoreWriter(tmp_path / "new", {}, TASKS).add(record, {"input": pair(record)["input"]})
    assert not (tmp_path / "new").exists()


def test_other_settings_are_refused_and_named(small_store, targets_store):
    with pytest.raises(MedleyError, match="made was 'by hand', now 'by machine'"):
        StoreWriter(small_store.path, {"made": "by machine"}, TASKS)
    other = TASK.model_copy(update={"range": (0, 1), "spacing": (1, 1, 1)})
    with pytest.raises(MedleyError, match=r"task made: range was .*, now .*, spacing was"):
        StoreWriter(targets_store.path, {"layout": "made"}, {"made": other})
    assert "a" in StoreWriter(targets_store.path, {"layout": "made"}, TASKS_OF_STORE)


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(MedleyError, match="contains no medley store"):
        StoreWriter(tmp_path, {}, TASKS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"records": [{"id": "x"}]}, "cannot be read: records.0.subject"),
        ({"tasks": {}}, "the task 'ct-denoise' of scan-0 is not defined; prepare the store again"),
        ({"format": 99}, r"was made by a newer medley \(store format 99, this one reads 2\); update medley"),
        ({"format": 1, "volumes": []}, r"was made by an older medley \(store format 1\); prepare it again"),
        ({"format": "2"}, None),
        ({"format": None}, "format"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_one_sentence(small_store, change, message):
    manifest = small_store.path / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **change}))
    if message is None:
        assert Store(small_store.path).records() == small_store.records()
        return
    with pytest.raises(MedleyError, match=message):
        Store(small_store.path)


def test_checksums_are_required(small_store):
    manifest = small_store.path / "manifest.json"
    content = json.loads(manifest.read_text())
    content["records"][0].pop("checksums")
    manifest.write_text(json.dumps(content))
    with pytest.raises(MedleyError, match="scan-0 has no checksum of its input"):
        Store(small_store.path)


def test_a_folder_without_a_manifest_is_reported(tmp_path):
    with pytest.raises(MedleyError, match=r"no manifest\.json"):
        Store(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [".", "..", "", "../other", "/absolute", ".hidden", "a/b", "C:\\x"])
def test_an_id_from_data_never_reaches_out_of_its_folder(small_store, name):
    """A PatientID may be anything; removing what a stopped run left must not remove other records."""
    before = sorted(one.relative_to(small_store.path) for one in small_store.path.rglob("*"))
    writer = StoreWriter(small_store.path, small_store.manifest.settings, TASKS)
    record = small_store.records()[0].model_copy(update={"id": name})
    with pytest.raises(MedleyError, match=r"the id .* cannot be used as a file name"):
        writer.add(record, pair(record))
    assert sorted(one.relative_to(small_store.path) for one in small_store.path.rglob("*")) == before


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_record_is_not_in_the_store_and_is_written_again(small_store, tmp_path, monkeypatch, error):
    import zarr

    record = small_store.records()[0]
    original = zarr.Group.create_array

    def fails_at_the_image(group, name, **keys):
        if name == "image":
            raise error
        return original(group, name, **keys)

    writer = StoreWriter(tmp_path / "new", {"made": "by hand"}, TASKS)
    with monkeypatch.context() as patch:
        patch.setattr(zarr.Group, "create_array", fails_at_the_image)
        with pytest.raises(type(error)):
            writer.add(record, pair(record))
    assert Store(tmp_path / "new").records() == []
    assert not (tmp_path / "new" / "records" / record.id).exists()

    again = StoreWriter(tmp_path / "new", {"made": "by hand"}, TASKS)
    assert record.id not in again
    again.add(record, pair(record))
    assert record.id in StoreWriter(tmp_path / "new", {"made": "by hand"}, TASKS)
    store = Store(tmp_path / "new")
    assert store.array(store.records()[-1], "image")[0, 2].mean() == 1
    assert not list((tmp_path / "new" / "records").glob(".*"))


def test_what_an_interrupted_run_left_is_replaced(targets_store):
    record = WHOLE.model_copy(update={"id": "late"})
    left = targets_store.path / "records" / ".late.partial" / "input"
    left.mkdir(parents=True)
    (targets_store.path / "records" / "late").mkdir()  # renamed, but not yet in the manifest
    writer = StoreWriter(targets_store.path, {"layout": "made"}, TASKS_OF_STORE)
    assert "late" not in writer
    writer.add(record, arrays(2))
    again = Store(targets_store.path)
    np.testing.assert_array_equal(again.array(again.records()[-1], "dose")[...], arrays(2)["dose"])
    assert not left.exists()


def test_preparing_writes_one_line_for_each_record(tmp_path):
    """The manifest is not written again, so the cost of a record does not depend on their number."""
    folder = tmp_path / "targets"
    writer = StoreWriter(folder, {"layout": "made"}, TASKS_OF_STORE)
    writer.add(WHOLE, arrays())
    manifest, sizes = (folder / MANIFEST).stat(), [(folder / JOURNAL).stat().st_size]
    for number in range(10, 15):
        writer.add(WHOLE.model_copy(update={"id": f"n-{number}"}), arrays(number))
        sizes.append((folder / JOURNAL).stat().st_size)
    assert (folder / MANIFEST).stat() == manifest
    assert len(set(np.diff(sizes))) == 1
    unfinished = Store(folder).records()
    assert [record.id for record in unfinished] == ["a", *(f"n-{number}" for number in range(10, 15))]
    writer.finish()
    assert not (folder / JOURNAL).exists()
    assert Store(folder).records() == unfinished


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_record_whose_line_was_cut_is_written_again(tmp_path, kept):
    """As by a kill: all lines before it count, and a store that is continued has each record once."""
    folder = tmp_path / "targets"
    writer = StoreWriter(folder, {"layout": "made"}, TASKS_OF_STORE)
    writer.add(WHOLE, arrays())
    complete = (folder / JOURNAL).read_bytes()
    late = WHOLE.model_copy(update={"id": "late"})
    writer.add(late, arrays(2))
    line = (folder / JOURNAL).read_bytes().removeprefix(complete)
    (folder / JOURNAL).write_bytes(complete + line[:kept])
    assert [record.id for record in Store(folder).records()] == ["a"]
    again = StoreWriter(folder, {"layout": "made"}, TASKS_OF_STORE)
    assert "a" in again
    assert "late" not in again
    again.add(late, arrays(2))
    again.finish()
    store = Store(folder)
    assert [record.id for record in store.records()] == ["a", "late"]
    for record in store.records():
        store.verify(record)


def test_a_journal_that_is_in_the_manifest_already_adds_nothing(targets_store):
    """As after a kill between writing the manifest and removing the journal."""
    journal = (targets_store.path / JOURNAL).read_bytes()
    StoreWriter(targets_store.path, {"layout": "made"}, TASKS_OF_STORE)
    assert not (targets_store.path / JOURNAL).exists()
    (targets_store.path / JOURNAL).write_bytes(journal)
    assert Store(targets_store.path).records() == targets_store.records()


def test_a_damaged_journal_is_one_sentence(targets_store):
    journal = targets_store.path / JOURNAL
    journal.write_bytes(b"{" + journal.read_bytes())
    with pytest.raises(MedleyError, match=r"records\.jsonl cannot be read: .*; prepare the store again"):
        Store(targets_store.path)


def damage(chunk, how):
    content = bytearray(chunk.read_bytes())
    if how == "removed":
        chunk.unlink()
        return
    if how == "cut":
        del content[len(content) // 2 :]
    elif how == "flipped":
        content[-3] ^= 4
    elif how == "emptied":
        content.clear()
    chunk.write_bytes(content)


def chunks_of(store, record, name):
    folder = store.path / "records" / record.id / name
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "zarr.json"]


@pytest.mark.parametrize("how", ["removed", "cut", "flipped", "emptied"])
@pytest.mark.parametrize(("kind", "name"), [("pairs", "input"), ("pairs", "image"), ("targets", "dose")])
def test_a_damaged_array_is_noticed(small_store, case_store, kind, name, how):
    store = small_store if kind == "pairs" else case_store
    others, damaged = store.records(), store.records()[1]
    others.remove(damaged)
    damage(chunks_of(store, damaged, name)[0], how)
    with pytest.raises(MedleyError, match=rf"{damaged.id}.{name}: (has other values|cannot be read)"):
        store.verify(damaged)
    for record in others:
        store.verify(record)


@pytest.mark.parametrize("name", ["", "input", "image"])
def test_a_missing_array_is_noticed(small_store, name):
    record = small_store.records()[0]
    shutil.rmtree(small_store.path / "records" / record.id / name)
    with pytest.raises(MedleyError, match="is missing, but the manifest lists it; prepare the store again"):
        small_store.verify(record)


def test_a_damaged_array_that_is_read_is_reported(small_store):
    record = small_store.records()[0]
    for chunk in chunks_of(small_store, record, "input"):
        damage(chunk, "cut")
    with pytest.raises(MedleyError, match="cannot be read as an array of a store"):
        small_store.array(record, "input")[0, 0]
