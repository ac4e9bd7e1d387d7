import json
from inspect import signature

import nibabel
import numpy as np
import pytest
from PIL import Image

from medley.data.layouts.folder import studies
from medley.data.prepare import prepare, simulated, write_records
from medley.data.store import Store
from medley.errors import MedleyError
from medley.physics import create_degradation
from medley.tasks import TASKS, VOLUME_TASKS, restoration_task


@pytest.fixture
def scans(tmp_path):
    """Three small synthetic scans, one of each modality, two of them of one person, with a table."""
    row, column = np.mgrid[:32, :36] / 32
    inside = ((row - 0.5) ** 2 + (column - 0.55) ** 2 < 0.16).astype(float)
    texture = 1 + 0.2 * np.sin(9 * row) * np.cos(7 * column)
    pictures = {
        "ct/train/a.nii.gz": -1000 + 1040 * inside * texture,
        "mri/train/b.nii.gz": 900 * inside * texture,
        "pet/valid/c.nii.gz": 3 * inside * texture,
    }
    for name, picture in pictures.items():
        file = tmp_path / "scans" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        stack = np.stack([picture.T] * 3, axis=2).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(stack, np.diag([2.0, 2.0, 3.0, 1.0])), file)
    table = tmp_path / "scans" / "sources.csv"
    table.write_text("file,subject\nct/train/a.nii.gz,Ann\nmri/train/b.nii.gz,Ann\npet/valid/c.nii.gz,Bob\n")
    return tmp_path / "scans"


def test_a_folder_of_scans_becomes_a_store(scans, tmp_path):
    store = prepare("folder", scans, tmp_path / "store")
    found = {(one.task, one.subject, one.split, store.task(one).unit) for one in store.records()}
    assert found == {
        ("ct-denoise", "Ann", "train", "HU"),
        ("mr-sr", "Ann", "train", "a.u."),
        ("pet-denoise", "Bob", "valid", "SUV"),
    }
    for record in store.records():
        assert record.shape == (3, 32, 36)
        assert record.spacing == (3.0, 2.0, 2.0)
        low, target = (store.array(record, name)[0] for name in ("input", "image"))
        assert np.isfinite(low).all()
        error = np.abs(low - target).mean() / np.ptp(target)
        assert 1e-4 < error < 0.2, record.task


def test_pictures_become_records_of_their_luminance(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (30, 40), dtype=np.uint8)).save(folder / "a.png")
    Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(folder / "b.png")
    (folder / "subjects.csv").write_text("file,subject,modality,split\na.png,Ann,CR,train\nb.png,Bob,SM,train\n")
    store = prepare("folder", folder, tmp_path / "store", degradations={"xray-denoise": {"photons": 50}})
    assert [(one.task, one.shape) for one in store.records()] == [
        ("xray-denoise", (1, 30, 40)),
        ("path-sr", (1, 30, 40)),
    ]
    for record in store.records():
        low, target = (store.array(record, name)[0] for name in ("input", "image"))
        assert (record.normalisation.low, record.normalisation.high) == (0, 255)
        assert low.min() >= 0
        assert low.max() <= 255
        assert not np.array_equal(low, target)
    assert store.records()[0].degradation["parameters"]["photons"] == 50
    assert np.min(store.array(store.records()[1], "image")[0]) >= 16
    # a store that was begun before these tasks existed has no settings for them, and can be continued
    assert set(store.manifest.settings["degradations"]) == {*VOLUME_TASKS, "xray-denoise"}


def test_the_manifest_makes_the_same_input_again(scans, tmp_path):
    store = prepare("folder", scans, tmp_path / "store")
    manifest = json.loads((store.path / "manifest.json").read_text())
    for record, stored in zip(store.records(), manifest["records"], strict=True):
        degradation = create_degradation(**manifest["settings"]["degradations"][record.task])
        if record.task == "pet-denoise":
            continue  # its target went through the chain as well: the scan it came from is not in the store
        image, spacing = store.array(record, "image")[0], record.spacing[1:]
        again = degradation.apply(image, stored["degradation"]["parameters"], spacing=spacing)
        np.testing.assert_allclose(again, store.array(record, "input")[0], rtol=1e-5, atol=1e-3)


def test_mr_is_scaled_by_the_degraded_scan_and_not_clipped(scans, tmp_path):
    store = prepare("folder", scans, tmp_path / "store")
    [record] = store.records(task="mr-sr")
    assert record.normalisation.low == 0
    assert record.normalisation.high == pytest.approx(np.percentile(store.array(record, "input")[...], 99.9), rel=0.02)
    assert not record.normalisation.clip


def test_a_second_run_adds_what_is_missing(scans, tmp_path):
    whole = prepare("folder", scans, tmp_path / "whole")
    (tmp_path / "part").mkdir()

    def stop_at_the_last(done, total, name):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("folder", scans, tmp_path / "part", progress=stop_at_the_last)
    assert len(Store(tmp_path / "part").records()) == 2
    kept = tmp_path / "part" / "records" / whole.records()[0].id / "input" / "zarr.json"
    age = kept.stat().st_mtime_ns
    store = prepare("folder", scans, tmp_path / "part")
    assert kept.stat().st_mtime_ns == age
    assert store.records() == whole.records()
    for record in store.records():
        for name in ("input", "image"):
            np.testing.assert_array_equal(store.array(record, name)[...], whole.array(record, name)[...])


def test_the_degradation_of_a_scan_does_not_depend_on_the_others(scans, tmp_path):
    all_of_them = prepare("folder", scans, tmp_path / "all")
    few = prepare("folder", scans, tmp_path / "few", exclude=["*.nii.gz/*", "mri/*"])
    assert [one.task for one in few.records()] == ["ct-denoise", "pet-denoise"]
    for record in few.records():
        assert record in all_of_them.records()


def test_without_a_table_folders_give_modality_and_split(scans, tmp_path):
    (scans / "sources.csv").unlink()
    store = prepare("folder", scans, tmp_path / "store")
    assert {(one.task, one.split) for one in store.records()} == {
        ("ct-denoise", "train"),
        ("mr-sr", "train"),
        ("pet-denoise", "valid"),
    }
    assert len({one.subject for one in store.records()}) == 3


def test_other_settings_do_not_mix_with_a_store(scans, tmp_path):
    prepare("folder", scans, tmp_path / "store")
    with pytest.raises(MedleyError, match="other settings"):
        prepare("folder", scans, tmp_path / "store", degradations={"ct-denoise": {"dose": 0.5}})


RANGES = {
    "ct-denoise": {"dose": (0.05, 1.0), "kernel": ("ramp", "hann-0.8")},
    "mr-sr": {"keep": (0.25, 1), "partial_fourier": (0.6, 1), "noise_percent": (0, 3)},
    "pet-denoise": {"reduction": (2, 20), "psf_mm": (4, 7)},
}


def test_ranges_are_drawn_for_every_scan_and_a_store_can_be_continued(scans, tmp_path):
    store = prepare("folder", scans, tmp_path / "store", degradations=RANGES)
    drawn = {record.task: record.degradation["parameters"] for record in store.records()}
    for task, options in RANGES.items():
        for name, (*given,) in options.items():
            value = drawn[task].get(name, "ramp")  # the default kernel is not recorded
            assert value in given if isinstance(given[0], str) else given[0] <= value <= given[1]
    before = (store.path / "manifest.json").read_bytes()
    prepare("folder", scans, tmp_path / "store", degradations=RANGES)
    assert (store.path / "manifest.json").read_bytes() == before
    again = prepare("folder", scans, tmp_path / "again", degradations=RANGES)
    for one, other in zip(store.records(), again.records(), strict=True):
        assert one.degradation == other.degradation
        assert np.array_equal(store.array(one, "input")[...], again.array(other, "input")[...])


def test_a_reversed_range_is_refused_before_anything_is_written(scans, tmp_path):
    with pytest.raises(MedleyError, match=r"reduction of pet-low-count is \[20, 2\], but a range is \[low, high\]"):
        prepare("folder", scans, tmp_path / "store", degradations={"pet-denoise": {"reduction": [20, 2]}})
    assert not (tmp_path / "store").exists()


def test_a_person_in_two_splits_is_refused(scans, tmp_path):
    (scans / "sources.csv").write_text("file,subject\nct/train/a.nii.gz,Ann\npet/valid/c.nii.gz,Ann\n")
    with pytest.raises(MedleyError, match="subject Ann is in 'train' and in 'valid'"):
        prepare("folder", scans, tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("file,name\nct/train/a.nii.gz,Ann\n", "no column subject"),
        ("file,subject\nct/train/z.nii.gz,Ann\n", "line 2: there is no"),
        ("file,subject,split\nct/train/a.nii.gz,Ann,holdout\n", "split 'holdout'"),
        ("file,subject,modality\nct/train/a.nii.gz,Ann,nm\n", "modality 'NM'"),
    ],
)
def test_a_faulty_table_is_named(scans, tmp_path, table, said):
    (scans / "sources.csv").write_text(table)
    with pytest.raises(MedleyError, match=said):
        prepare("folder", scans, tmp_path / "store")


def test_nothing_to_prepare_is_reported(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MedleyError):
        prepare("folder", tmp_path / "empty", tmp_path / "store")
    with pytest.raises(MedleyError, match="not a folder"):
        prepare("folder", tmp_path / "nowhere", tmp_path / "store")
    with pytest.raises(MedleyError, match="no layout 'bids'"):
        prepare("bids", tmp_path, tmp_path / "store")


def test_scans_have_no_size(scans, tmp_path):
    with pytest.raises(MedleyError, match="the layout folder keeps the size of scans"):
        prepare("folder", scans, tmp_path / "store", size=64)


def test_every_layout_can_be_imported():
    from medley.data.layouts.layout import LAYOUTS
    from medley.runtime.registry import resolved

    for layout in LAYOUTS.values():
        expected = {"source", "table", "size"} if layout.kind == "targets" else {"source", "table"}
        assert expected <= signature(resolved(layout.find)).parameters.keys()


def test_pseudonyms_hide_names_and_keep_everything_else(scans, tmp_path):
    plain = prepare("folder", scans, tmp_path / "plain", exclude=["mri/*"])
    secret = tmp_path / "secret.txt"
    hidden = prepare("folder", scans, tmp_path / "hidden", exclude=["mri/*"], pseudonyms=secret)
    text = (hidden.path / "manifest.json").read_text()
    assert not [name for name in ("Ann", "Bob", "a.nii", "c.nii", "mri") if name in text]
    assert not [path for path in hidden.path.rglob("*") if path.name in {one.id for one in plain.records()}]
    for one, other in zip(plain.records(), hidden.records(), strict=True):
        changed = {"id": one.id, "subject": one.subject, "source": one.source}
        assert other.model_copy(update=changed) == one  # checksums too: the same degradation
    assert len({one.subject for one in hidden.records()}) == 2
    again = prepare("folder", scans, tmp_path / "again", pseudonyms=secret)
    assert {one.subject for one in again.records()} == {one.subject for one in hidden.records()}
    assert prepare("folder", scans, hidden.path, exclude=["mri/*"], pseudonyms=secret).records() == hidden.records()
    with pytest.raises(MedleyError, match="was prepared with other settings"):
        prepare("folder", scans, hidden.path, exclude=["mri/*"])


@pytest.mark.parametrize(
    "again", ["ct/train/a.nii.gz", "./ct/train/a.nii.gz", "ct/../ct/train/a.nii.gz", "link.nii.gz"]
)
def test_a_scan_that_is_listed_twice_is_refused(scans, tmp_path, again):
    (scans / "link.nii.gz").symlink_to(scans / "ct/train/a.nii.gz")
    (scans / "sources.csv").write_text(f"file,subject\nct/train/a.nii.gz,Ann\n{again},Bob\n")
    with pytest.raises(MedleyError, match=r"line 3: .* is already listed in line 2; a scan belongs to one subject"):
        prepare("folder", scans, tmp_path / "store")


def test_repeats_are_independent_degradations_of_the_same_scan(scans, tmp_path):
    degradations = {"ct-denoise": {"dose": [0.05, 1.0]}}
    keys = {"exclude": ["mri/*", "pet/*"], "degradations": degradations}
    once = prepare("folder", scans, tmp_path / "once", **keys)
    thrice = prepare("folder", scans, tmp_path / "thrice", repeats=3, **keys)
    first, second, third = thrice.records()
    assert [one.id for one in thrice.records()] == [once.records()[0].id + end for end in ("", "-2", "-3")]
    assert first == once.records()[0]
    assert len({one.degradation["parameters"]["dose"] for one in thrice.records()}) == 3
    assert {one.subject for one in thrice.records()} == {"Ann"}
    for record in (second, third):
        np.testing.assert_array_equal(thrice.array(record, "image")[...], thrice.array(first, "image")[...])


def test_a_registered_task_is_chosen_by_the_name_of_a_folder_or_in_the_table(scans, tmp_path, forget):
    degradation = {"name": "ct-low-dose", "dose": 0.1}
    own = restoration_task("ct-own", "CT", "CT", "HU", range=(-1024, 3071), window=(-160, 240), degradation=degradation)
    TASKS.register("ct-own", own)
    (scans / "sources.csv").write_text("file,subject,modality\nct/train/a.nii.gz,Ann,ct-own\npet/valid/c.nii.gz,Bob,\n")
    first, second = prepare("folder", scans, tmp_path / "table").records()
    assert (first.task, first.degradation["parameters"]["dose"]) == ("ct-own", 0.1)
    assert second.task == "pet-denoise"
    (scans / "ct").rename(scans / "ct-own")
    (scans / "sources.csv").unlink()
    records = prepare("folder", scans, tmp_path / "folder", exclude=["mri/*"]).records()
    assert [one.task for one in records] == ["ct-own", "pet-denoise"]


def test_a_long_scan_gives_contiguous_slices_and_others_for_each_repeat(tmp_path):
    slices = np.arange(10)[:, None, None] + np.zeros((1, 20, 24), np.float32)
    (tmp_path / "scans" / "ct").mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(slices.T, np.diag([1.0, 1, 3, 1])), tmp_path / "scans" / "ct" / "a.nii.gz")
    undegraded = {"ct-denoise": {"name": "ct-low-dose", "dose": 1.0}}
    found = simulated(list(studies(tmp_path / "scans")), undegraded, 0, repeats=6, slices=4)
    store = write_records(tmp_path / "store", {}, TASKS, found)
    parts = [store.array(one, "image")[0, :, 0, 0].tolist() for one in store.records()]
    assert len(parts) == 6
    assert all(part == list(range(int(part[0]), int(part[0]) + 4)) for part in parts)
    assert len({part[0] for part in parts}) > 2
