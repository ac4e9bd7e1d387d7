"""T2 images of IXI: subjects and splits from names."""

import nibabel
import numpy as np
import pytest

from medley.data.prepare import prepare
from medley.errors import MedleyError, MedleyNotice

NAMES = (
    "train/IXI012-HH-1211-T2.nii.gz",
    "train/IXI002-Guys-0828-T2.nii.gz",
    "test/IXI035-IOP-0873-T2.nii",
    "test/IXI035-IOP-0873-T1.nii",
)


@pytest.fixture
def data(tmp_path):
    values = np.random.default_rng(0).uniform(0, 900, (20, 24, 2)).astype(np.float32)
    for name in NAMES:
        (tmp_path / "IXI" / name).parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 1, 1.25, 1])), tmp_path / "IXI" / name)
    return tmp_path / "IXI"


def test_subjects_and_splits(data, tmp_path):
    store = prepare("ixi", data, tmp_path / "store")
    assert {(one.subject, one.split, one.task) for one in store.records()} == {
        ("IXI012", "train", "mr-sr"),
        ("IXI002", "train", "mr-sr"),
        ("IXI035", "test", "mr-sr"),
    }
    assert all(one.degradation["name"] == "mr-truncation" for one in store.records())


def test_files_of_other_names_are_noticed(data, tmp_path):
    (data / "test/IXI035-IOP-0873-T1.nii").rename(data / "test/mine.nii")
    with pytest.warns(MedleyNotice, match=r"1 files are not called like IXI's and are left out, such as mine\.nii"):
        assert len(prepare("ixi", data, tmp_path / "store").records()) == 3


def test_a_folder_without_t2_and_a_table_are_refused(data, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MedleyError, match="holds no T2 image of IXI"):
        prepare("ixi", tmp_path / "empty", tmp_path / "store")
    with pytest.raises(MedleyError, match="remove the table"):
        prepare("ixi", data, tmp_path / "store", table=tmp_path / "a.csv")
