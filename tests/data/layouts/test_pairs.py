"""Measured pairs: parallel folders and tables, in every format, on one grid."""

import nibabel
import numpy as np
import pytest
from PIL import Image
from tests.phantoms import write_ct_series

from medley.data.prepare import prepare
from medley.errors import MedleyError

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def write_nifti(path, values, affine=AFFINE):
    """`values` (slice, row, column)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values.T.astype(np.float32), affine), path)


def scan(seed=0, shape=(3, 20, 24)):
    return np.random.default_rng(seed).uniform(-900, 900, shape).astype(np.float32)


def write_pair(source, name, low, high, **options):
    write_nifti(source / "input" / name, low)
    write_nifti(source / "target" / name, high, **options)


def test_parallel_folders_become_records_without_simulation(tmp_path):
    low, high = scan(0), scan(1)
    write_pair(tmp_path / "data", "ct/test/a.nii.gz", low, high)
    write_pair(tmp_path / "data", "MRI/train/b.nii", abs(low), abs(high))
    store = prepare("pairs", tmp_path / "data", tmp_path / "store")
    ct, mr = sorted(store.records(), key=lambda one: one.task)
    assert (ct.task, ct.split, ct.spacing, ct.degradation) == ("ct-denoise", "test", (3.0, 2.0, 2.0), {})
    assert (mr.task, mr.split) == ("mr-sr", "train")
    np.testing.assert_allclose(store.array(ct, "input")[0], low)
    np.testing.assert_allclose(store.array(ct, "image")[0], high)
    assert mr.normalisation.high == pytest.approx(np.percentile(abs(low), 99.9), rel=1e-4)  # of the input
    assert not mr.normalisation.clip
    store.verify(ct)


def test_dicom_series_state_their_task(tmp_path):
    write_ct_series(tmp_path / "data" / "input" / "p1", seed=1)
    write_ct_series(tmp_path / "data" / "target" / "p1", seed=2)
    [record] = prepare("pairs", tmp_path / "data", tmp_path / "store").records()
    assert (record.task, record.subject, record.spacing) == ("ct-denoise", "p1", pytest.approx((2.5, 0.8, 0.7)))


def test_dicom_series_directly_in_the_two_folders(tmp_path):
    write_ct_series(tmp_path / "data" / "input", seed=1)
    write_ct_series(tmp_path / "data" / "target", seed=2)
    [record] = prepare("pairs", tmp_path / "data", tmp_path / "store").records()
    assert record.id == "series"


def test_formats_may_differ_within_a_pair(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    low, high = scan(0), scan(1)
    write_nifti(tmp_path / "data/input/ct/a.nii.gz", low)
    image = sitk.GetImageFromArray(high)
    image.SetSpacing((2.0, 2.0, 3.0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # LPS: the RAS axes of the NIfTI file
    (tmp_path / "data/target/ct").mkdir(parents=True)
    sitk.WriteImage(image, tmp_path / "data/target/ct/a.mha")
    store = prepare("pairs", tmp_path / "data", tmp_path / "store")
    np.testing.assert_allclose(store.array(store.records()[0], "image")[0], high)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_pictures(tmp_path, suffix):
    grey = np.random.default_rng(0).integers(0, 2**16, (2, 9, 12)).astype(np.uint16)
    for half, values in zip(("input", "target"), grey, strict=True):
        (tmp_path / "data" / half / "x-ray").mkdir(parents=True)
        Image.fromarray(values).save(tmp_path / "data" / half / "x-ray" / f"a{suffix}")
    store = prepare("pairs", tmp_path / "data", tmp_path / "store")
    [record] = store.records()
    assert (record.shape, record.spacing) == ((1, 9, 12), ())
    for name, values in zip(("input", "image"), grey, strict=True):
        np.testing.assert_array_equal(store.array(record, name)[0, 0], values)


def test_pictures_have_no_physical_unit(tmp_path):
    for half in ("input", "target"):
        (tmp_path / "data" / half / "ct").mkdir(parents=True)
        Image.fromarray(np.zeros((9, 12), np.uint8)).save(tmp_path / "data" / half / "ct" / "a.png")
    with pytest.raises(MedleyError, match=r"input/ct/a\.png: its unit is grey levels, not HU"):
        prepare("pairs", tmp_path / "data", tmp_path / "store")


def test_a_table_names_pairs_subjects_splits_and_tasks(tmp_path):
    data = tmp_path / "data"
    for k in range(3):
        write_nifti(data / f"low/{k}.nii", scan(k))
        write_nifti(data / f"high/x{k}.nii", scan(9))
    (data / "pairs.csv").write_text(
        "input,target,subject,split,task\nlow/0.nii,high/x0.nii,Ann,val,ct-denoise\n"
        "low/1.nii,high/x1.nii,Ann,valid,CT\nlow/2.nii,high/x2.nii,Bob,,PET\n"
    )
    found = {(one.id, one.subject, one.task) for one in prepare("pairs", data, tmp_path / "store").records()}
    assert found == {
        ("low-0", "Ann", "ct-denoise"),
        ("low-1", "Ann", "ct-denoise"),
        ("low-2", "Bob", "pet-denoise"),
    }


MOVED = AFFINE.copy()
MOVED[0, 3] = 1.0


@pytest.mark.parametrize(
    ("high", "affine", "message"),
    [
        (scan(1, (3, 20, 23)), AFFINE, r"the shapes are \(3, 20, 24\) and \(3, 20, 23\)"),
        (scan(1), np.diag([2.0, 2.0, 2.5, 1.0]), "the spacings are 3 x 2 x 2 and 2.5 x 2 x 2 mm"),
        (scan(1), MOVED, "their affines place the same voxel up to 0.5 voxels apart"),
        (scan(1), AFFINE @ np.diag([1.0, -1.0, 1.0, 1.0]), "their affines place the same voxel"),
    ],
    ids=["shape", "spacing", "position", "direction"],
)
def test_grids_that_differ_are_named_with_both_files(tmp_path, high, affine, message):
    write_pair(tmp_path / "data", "ct/a.nii", scan(0), high, affine=affine)
    with pytest.raises(MedleyError, match=message) as raised:
        prepare("pairs", tmp_path / "data", tmp_path / "store")
    assert "input/ct/a.nii" in str(raised.value)
    assert "target/ct/a.nii" in str(raised.value)


def test_rounding_of_a_header_is_no_difference(tmp_path):
    affine = AFFINE.copy()
    affine[:3, 3] = 0.001
    write_pair(tmp_path / "data", "ct/a.nii", scan(0), scan(1), affine=affine)
    assert len(prepare("pairs", tmp_path / "data", tmp_path / "store").records()) == 1


def test_an_image_without_a_partner_is_named(tmp_path):
    write_pair(tmp_path / "data", "ct/a.nii", scan(0), scan(1))
    write_nifti(tmp_path / "data/target/ct/b.nii", scan(1))
    with pytest.raises(MedleyError, match=r"target/ct/b\.nii has no partner called 'ct/b' in .*input"):
        prepare("pairs", tmp_path / "data", tmp_path / "store")


def test_a_missing_folder_is_named(tmp_path):
    write_nifti(tmp_path / "data/input/ct/a.nii", scan(0))
    with pytest.raises(MedleyError, match="holds no folder target and no table"):
        prepare("pairs", tmp_path / "data", tmp_path / "store")


def test_a_pair_of_unknown_task_is_refused(tmp_path):
    write_pair(tmp_path / "data", "a.nii", scan(0), scan(1))
    with pytest.raises(MedleyError, match="so its task is unknown; put the pair below a folder"):
        prepare("pairs", tmp_path / "data", tmp_path / "store")


def test_a_modality_that_is_not_that_of_the_task_is_refused(tmp_path):
    for half in ("input", "target"):
        write_ct_series(tmp_path / "data" / half / "mri" / "p1")
    with pytest.raises(MedleyError, match="its modality is CT, not MR"):
        prepare("pairs", tmp_path / "data", tmp_path / "store")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("low.nii,no.nii,A,,CT", "line 2: there is no .*no.nii"),
        ("low.nii,,A,,CT", "line 2: target is empty"),
        ("low.nii,high.nii,,,CT", "line 2: subject is empty"),
        ("low.nii,high.nii,A,third,CT", "line 2: low.nii is in split 'third'"),
        ("low.nii,high.nii,A,,ct-denoising", "there is no task 'ct-denoising'.*did you mean 'ct-denoise'"),
        ("low.nii,low.nii,A,,CT", "input and target are the same file"),
        ("low.nii,high.nii,A,,CT\nlow.nii,high.nii,B,,CT", "line 3: low.nii is already listed in line 2"),
    ],
)
def test_faults_of_a_table(tmp_path, lines, message):
    data = tmp_path / "data"
    for name in ("low", "high"):
        write_nifti(data / f"{name}.nii", scan())
    (data / "pairs.csv").write_text(f"input,target,subject,split,task\n{lines}\n")
    with pytest.raises(MedleyError, match=message):
        prepare("pairs", data, tmp_path / "store")


def test_a_subject_in_two_splits_is_refused(tmp_path):
    data = tmp_path / "data"
    for name in ("a", "b", "c"):
        write_nifti(data / f"{name}.nii", scan())
    (data / "pairs.csv").write_text("input,target,subject,split,task\na.nii,c.nii,A,train,CT\nb.nii,c.nii,A,test,CT\n")
    with pytest.raises(MedleyError, match="a person belongs to one split only"):
        prepare("pairs", data, tmp_path / "store")
