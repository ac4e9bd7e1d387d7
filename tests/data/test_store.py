import json

import numpy as np
import pytest

from medley.data.store import Store, StoreWriter
from medley.errors import MedleyError


def test_what_is_written_is_read(small_store):
    [entry] = small_store.entries("valid", "ct-denoise")
    assert small_store.input(entry).shape == entry.shape == (3, 46, 36)
    assert small_store.target(entry).chunks == (1, 46, 36)
    assert small_store.input(entry)[1].dtype == np.float32
    assert not np.array_equal(small_store.input(entry)[1], small_store.target(entry)[1])


def test_entries_choose_by_split_and_task(small_store):
    assert [e.id for e in small_store.entries()] == ["scan-0", "scan-1", "scan-2", "scan-3"]
    assert [e.id for e in small_store.entries("train")] == ["scan-0", "scan-1"]
    assert [e.id for e in small_store.entries(task="pet-denoise")] == ["scan-1", "scan-3"]


def test_a_volume_cut_off_half_way_is_not_in_the_store_and_is_written_anew(small_store):
    entry = small_store.entries()[0].model_copy(update={"id": "late"})
    pairs = [(np.zeros(entry.shape[1:], np.float32), np.ones(entry.shape[1:], np.float32))] * 3

    def broken():
        yield pairs[0]
        raise OSError("No space left on device")

    writer = StoreWriter(small_store.path, {"made": "by hand"})
    with pytest.raises(OSError, match="No space"):
        writer.add(entry, broken())
    assert "late" not in [e.id for e in Store(small_store.path).entries()]
    assert not (small_store.path / "volumes" / "late").exists()

    again = StoreWriter(small_store.path, {"made": "by hand"})
    assert "late" not in again
    assert "scan-0" in again
    again.add(entry, iter(pairs))
    store = Store(small_store.path)
    assert store.target(store.entries()[-1])[2].mean() == 1
    assert not list((small_store.path / "volumes").glob(".*"))


def test_other_settings_are_refused_and_named(small_store):
    with pytest.raises(MedleyError, match="made was 'by hand', now 'by machine'"):
        StoreWriter(small_store.path, {"made": "by machine"})


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(MedleyError, match="contains no medley store"):
        StoreWriter(tmp_path, {})


def test_no_store_and_a_broken_manifest_are_said(tmp_path, small_store):
    with pytest.raises(MedleyError, match=r"no manifest\.json"):
        Store(tmp_path / "nowhere")
    manifest = small_store.path / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "volumes": [{"id": "x"}]}))
    with pytest.raises(MedleyError, match="subject"):
        Store(small_store.path)
    manifest.write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(MedleyError, match="format 99"):
        Store(small_store.path)


@pytest.mark.parametrize("name", [".", "..", "", "../other", "/absolute", ".hidden", "a/b", "C:\\x"])
def test_an_id_from_data_never_reaches_out_of_its_folder(small_store, name):
    """A PatientID may be anything; removing what a stopped run left must not remove other records."""
    before = sorted(one.relative_to(small_store.path) for one in small_store.path.rglob("*"))
    writer = StoreWriter(small_store.path, small_store.manifest.settings)
    entry = small_store.manifest.volumes[0].model_copy(update={"id": name})
    with pytest.raises(MedleyError, match=r"the id .* cannot be used as a file name"):
        writer.add(entry, iter([]))
    assert sorted(one.relative_to(small_store.path) for one in small_store.path.rglob("*")) == before


def test_a_store_that_was_stopped_in_its_first_record_can_be_continued(small_store, tmp_path):
    def stopped():
        yield from [(np.zeros((40, 36), np.float32),) * 2]
        raise KeyboardInterrupt

    entry = small_store.manifest.volumes[0]
    with pytest.raises(KeyboardInterrupt):
        StoreWriter(tmp_path / "new", {"made": "by hand"}).add(entry, stopped())
    writer = StoreWriter(tmp_path / "new", {"made": "by hand"})
    assert entry.id not in writer
    writer.add(entry, ((np.zeros((40, 36), np.float32),) * 2 for _ in range(3)))
    assert entry.id in StoreWriter(tmp_path / "new", {"made": "by hand"})


def _damage(chunk, how):
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


@pytest.mark.parametrize("how", ["removed", "cut", "flipped", "emptied"])
@pytest.mark.parametrize("name", ["input", "target"])
def test_a_damaged_volume_is_noticed(small_store, name, how):
    damaged, *others = small_store.entries()
    folder = small_store.path / "volumes" / damaged.id / name
    chunk = next(path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "zarr.json")
    _damage(chunk, how)
    with pytest.raises(MedleyError, match=rf"{damaged.id}.{name}: (has other values|cannot be read)"):
        small_store.verify(damaged)
    for entry in others:
        small_store.verify(entry)


@pytest.mark.parametrize("how", ["removed", "cut", "flipped", "emptied"])
def test_a_damaged_case_is_noticed(case_store, how):
    _, damaged, *others = case_store.cases()
    folder = case_store.path / "cases" / damaged.id / "dose"
    chunk = next(path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "zarr.json")
    _damage(chunk, how)
    with pytest.raises(MedleyError, match=rf"{damaged.id}.dose: (has other values|cannot be read)"):
        case_store.verify(damaged)
    for case in others:
        case_store.verify(case)


def test_a_missing_record_is_noticed(small_store):
    import shutil

    entry = small_store.entries()[0]
    shutil.rmtree(small_store.path / "volumes" / entry.id)
    with pytest.raises(MedleyError, match="is missing, but the manifest lists it"):
        small_store.verify(entry)


def test_reading_a_damaged_array_is_one_sentence(small_store):
    entry = small_store.entries()[0]
    folder = small_store.path / "volumes" / entry.id / "input"
    for chunk in folder.rglob("*"):
        if chunk.is_file() and chunk.name != "zarr.json":
            _damage(chunk, "cut")
    with pytest.raises(MedleyError, match="cannot be read as an array of a store"):
        small_store.input(entry)[0]
