"""The authors' prepared data: pairs in LQ and HQ, as NIfTI, pictures and pickled arrays."""

import pickle

import nibabel
import numpy as np
import pytest
from PIL import Image

from medley.data.prepare import prepare
from medley.errors import MedleyError


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".bin":
        path.write_bytes(pickle.dumps(values))
    elif path.suffix == ".png":
        Image.fromarray(values.astype(np.uint8)).save(path)
    else:
        nibabel.save(nibabel.Nifti1Image(values.T, np.eye(4)), path)


def picture(seed, shape=(16, 20)):
    return np.random.default_rng(seed).uniform(0, 20, shape).astype(np.float32)


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "All-in-One"
    for k, name in enumerate(
        [
            "MRI/train/{}/a_1.bin",
            "MRI/validation/{}/b_1.bin",
            "CT/train/{}/1.bin",
            "CT/test/{}/1.nii",
            "PET/test/{}/p.nii",
        ]
    ):
        write(root / name.format("LQ"), picture(k))
        write(root / name.format("HQ"), picture(100 + k))
    return root


def test_the_authors_tree(data, tmp_path):
    store = prepare("amir", data, tmp_path / "store")
    found = {(one.id, one.task, one.split) for one in store.records()}
    assert found == {
        ("MRI-train-a_1", "mr-sr", "train"),
        ("MRI-valid-b_1", "mr-sr", "valid"),
        ("CT-train-1", "ct-denoise", "train"),
        ("CT-test-1", "ct-denoise", "test"),
        ("PET-test-p", "pet-denoise", "test"),
    }
    assert len({one.subject for one in store.records()}) == 5
    for record in store.records():
        assert record.shape == (1, 16, 20)
        assert record.degradation == {}
        store.verify(record)
    [mr] = store.records("train", "mr-sr")
    np.testing.assert_array_equal(store.array(mr, "input")[0, 0], picture(0))
    np.testing.assert_array_equal(store.array(mr, "image")[0, 0], picture(100))
    assert mr.spacing == ()


def test_one_task_and_pictures_as_of_unih3(tmp_path):
    for half in ("LQ", "HQ"):
        write(tmp_path / "OCT_denoising" / "train" / half / "deep" / "x.png", picture(0))
    [record] = prepare("amir", tmp_path / "OCT_denoising", tmp_path / "store").records()
    assert record.id == "OCT_denoising-train-deep-x"


def test_slices_stacked_in_one_array(tmp_path):
    for half in ("LQ", "HQ"):
        write(tmp_path / "CT/train" / half / "x.bin", picture(0, (5, 16, 20)))
        write(tmp_path / "CT/train" / half / "y.bin", picture(0, (16, 20, 1)))
    assert [one.shape for one in prepare("amir", tmp_path / "CT", tmp_path / "s").records()] == [
        (5, 16, 20),
        (1, 16, 20),
    ]


def test_a_table_states_subjects(data, tmp_path):
    table = tmp_path / "subjects.csv"
    table.write_text("name,subject\na_1,A\nb_1,B\n")
    store = prepare("amir", data / "MRI", tmp_path / "store", table=table)
    assert {one.subject for one in store.records()} == {"A", "B"}
    table.write_text("name,subject\na_1,A\n")
    with pytest.raises(MedleyError, match="has no subject of b_1"):
        prepare("amir", data / "MRI", tmp_path / "other", table=table)


def test_a_missing_partner_is_named(data, tmp_path):
    (data / "CT/train/HQ/1.bin").unlink()
    with pytest.raises(MedleyError, match=r"LQ/1\.bin has no partner called '1' in .*HQ"):
        prepare("amir", data, tmp_path / "store")


def test_shapes_that_differ_are_named(data, tmp_path):
    write(data / "CT/train/HQ/1.bin", picture(0, (16, 21)))
    with pytest.raises(MedleyError, match=r"LQ/1\.bin and .*HQ/1\.bin are not on the same grid: the shapes"):
        prepare("amir", data, tmp_path / "store")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("CT/train", "CT/training", "training is no split; expected one of train, valid"),
        ("PET", "SPECT", "SPECT is no task"),
        ("CT/test/HQ", "CT/test/good", "has no folder HQ"),
    ],
)
def test_folders_of_other_names_are_refused(data, tmp_path, old, new, message):
    (data / old).rename(data / new)
    with pytest.raises(MedleyError, match=message):
        prepare("amir", data, tmp_path / "store")


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(MedleyError, match="holds no folder LQ beside a folder HQ"):
        prepare("amir", tmp_path, tmp_path / "store")
