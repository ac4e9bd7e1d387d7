"""Folders of pictures: tasks, splits and subjects from folders and tables."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from medley.data.layouts import folder
from medley.data.pairing import task_called
from medley.data.prepare import prepare
from medley.errors import MedleyError, MedleyNotice
from medley.io.pictures import luminance
from medley.tasks import TASKS

PICTURES = {
    "X-ray/train/a.png": "xray-denoise",
    "cr/valid/b.tif": "xray-denoise",
    "ultrasound/test/images/c.bmp": "us-denoise",
    "US/train/d.png": "us-denoise",
    "opt/validation/e.png": "oct-denoise",
    "oct/train/f.PNG": "oct-denoise",
    "histology/val/g.png": "path-sr",
    "sm/train/h.jpg": "path-sr",
}
COLOUR = ("g.png", "h.jpg")


def picture(name, seed=0):
    rng = np.random.default_rng(seed)
    shape = (24, 20, 3) if name in COLOUR else (24, 20)
    return rng.integers(60, 200, shape, dtype=np.uint8)


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def data(tmp_path):
    for k, name in enumerate(PICTURES):
        path = tmp_path / "pictures" / name
        save(path, picture(path.name, k))
    return tmp_path / "pictures"


def test_folders_give_task_and_split(data, tmp_path):
    store = prepare("images", data, tmp_path / "store")
    assert {one.source: one.task for one in store.records()} == PICTURES
    splits = {one.source[-5:].lower(): one.split for one in store.records()}
    assert [splits[name] for name in ("a.png", "b.tif", "c.bmp", "e.png", "g.png")] == [
        "train", "valid", "test", "valid", "valid"
    ]  # fmt: skip
    for one in store.records():
        assert one.degradation["name"] == TASKS[one.task].degradation["name"]
        low, target = (store.array(one, name)[0] for name in ("input", "image"))
        assert low.shape == target.shape == (1, 24, 20)
        assert not np.array_equal(low, target)


def test_the_target_is_the_picture_or_its_luminance(data, tmp_path):
    store = prepare("images", data, tmp_path / "store")
    by_name = {one.source: store.array(one, "image")[0, 0] for one in store.records()}
    np.testing.assert_array_equal(by_name["X-ray/train/a.png"], picture("a.png", 0))
    np.testing.assert_allclose(by_name["histology/val/g.png"], luminance(picture("g.png", 6))[0])


@pytest.mark.parametrize("mask", ["masks/d.png", "US/Segmentations/d.png", "US/d_mask.png", "US/d_mask_1.png"])
def test_masks_hidden_files_and_other_scans_are_left_out(data, tmp_path, mask):
    save(data / mask, picture("mask"))
    save(data / ".trash" / "x.png", picture("x"))
    (data / "US" / "labels.csv").write_text("image,class\nd.png,benign\n")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4)), np.eye(4)), data / "scan.nii.gz")
    assert {one.source for one in prepare("images", data, tmp_path / "store").records()} == set(PICTURES)


@pytest.mark.parametrize(("name", "task"), [("xray", "xray-denoise"), ("Pathology", "path-sr"), ("dx", "xray-denoise")])
def test_the_folder_itself_may_name_the_task(tmp_path, name, task):
    save(tmp_path / name / "train" / "a.png", picture("a.png"))
    save(tmp_path / name / "us" / "b.png", picture("b.png"))  # a folder inside comes first
    tasks = {one.source: one.task for one in prepare("images", tmp_path / name, tmp_path / "store").records()}
    assert tasks == {"train/a.png": task, "us/b.png": "us-denoise"}


def test_a_table_gives_subject_split_and_modality(data, tmp_path):
    (data / "sources.csv").write_text(
        "file,subject,split,modality\n"
        "X-ray/train/a.png,Ann,test,\n"
        "cr/valid/b.tif,Ann,test,oct-denoise\n"
        "US/train/d.png,Bob,,Ultrasound\n"
    )
    found = {
        one.source: (one.subject, one.split, one.task) for one in prepare("images", data, tmp_path / "store").records()
    }
    assert found == {
        "X-ray/train/a.png": ("Ann", "test", "xray-denoise"),
        "cr/valid/b.tif": ("Ann", "test", "oct-denoise"),
        "US/train/d.png": ("Bob", "train", "us-denoise"),
    }


def test_lines_of_other_files_are_noticed(data, tmp_path):
    (data / "notes.txt").write_text("x")
    table = tmp_path / "table.csv"
    table.write_text("file,subject\nX-ray/train/a.png,Ann\nnotes.txt,Bob\n")
    with pytest.warns(MedleyNotice, match="1 lines name files that are not pictures"):
        assert len(prepare("images", data, tmp_path / "store", table=table).records()) == 1


def test_a_person_in_two_splits_is_refused(data, tmp_path):
    (data / "subjects.csv").write_text("file,subject\nUS/train/d.png,Ann\nopt/validation/e.png,Ann\n")
    with pytest.raises(MedleyError, match="subject Ann is in 'train' and in 'valid'"):
        prepare("images", data, tmp_path / "store")


def test_what_cannot_be_used_is_one_sentence(tmp_path):
    save(tmp_path / "some" / "a.png", picture("a.png"))
    with pytest.raises(MedleyError, match=r"a\.png has modality 'unknown'.* such as ct, mri, pet, x-ray"):
        prepare("images", tmp_path / "some", tmp_path / "store")
    save(tmp_path / "ct" / "a.png", picture("a.png"))
    with pytest.raises(MedleyError, match="its unit is grey levels, not HU"):
        prepare("images", tmp_path / "ct", tmp_path / "store-of-ct")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MedleyError, match=r"holds no picture; expected \.png"):
        prepare("images", tmp_path / "empty", tmp_path / "store-of-none")
    with pytest.raises(MedleyError, match="is not a folder"):
        prepare("images", tmp_path / "nowhere", tmp_path / "store-of-none")


@pytest.mark.parametrize(
    "word", ["ct", "MRI", "pet", "X-ray", "cr", "us", "OCT", "opt", "histology", "sm", "us-denoise"]
)
def test_folder_and_pairs_know_the_same_words(tmp_path, word):
    save(tmp_path / word / "train" / "a.png", picture("a.png"))
    [found] = folder.studies(tmp_path)
    assert found.modality == task_called(word).modality
