"""LDCT-and-Projection-data: series of two doses, paired by position."""

import shutil

import numpy as np
import pytest
from tests.phantoms import values, write_series

from medley.data.prepare import prepare
from medley.errors import MedleyError

SHAPE = (6, 20, 24)


def write(folder, patient, text, *, seed, slices=SHAPE[0], origin=(-31.0, -17.0, 42.0), **options):
    def change(ds, k):
        ds.PatientID, ds.SeriesDescription = patient, text

    stored = values((slices, *SHAPE[1:]), 0, 2500, seed)
    write_series(folder, stored, "CT", intercept=-1024.0, seed=seed, origin=origin, change=change, **options)
    return stored - 1024.0


@pytest.fixture
def data(tmp_path):
    """Two patients; the low-dose series of L004 starts a slice later and ends two slices later."""
    root = tmp_path / "LDCT-and-Projection-data"
    study = root / "C002" / "12-23-2021-NA-NA-62464"
    low = write(study / "1.000000-Low Dose Images-71581", "C002", "Low Dose Images", seed=1)
    full = write(study / "1.000000-Full Dose Images-53087", "C002", "Full Dose Images", seed=2)
    write(study / "1.000000-Full Dose Projections-24", "C002", "Full Dose Projections", seed=5, slices=2)
    study = root / "L004" / "1.2.3"
    write(study / "a", "L004", "Low Dose Images", seed=3, slices=7, origin=(-31.0, -17.0, 44.5))
    write(study / "b", "L004", "Full dose images", seed=4)
    return root, low, full


def test_series_are_paired(data, tmp_path):
    root, low, full = data
    store = prepare("ldct", root, tmp_path / "store")
    chest, abdomen = store.records()
    assert (chest.id, chest.subject, chest.task, chest.shape) == ("C002", "C002", "ct-denoise", SHAPE)
    assert chest.spacing == pytest.approx((2.5, 0.8, 0.7))
    np.testing.assert_array_equal(store.array(chest, "input")[0], low)
    np.testing.assert_array_equal(store.array(chest, "image")[0], full)
    assert abdomen.shape == (5, *SHAPE[1:])


def test_slices_are_paired_by_position(data, tmp_path):
    root, _, _ = data
    store = prepare("ldct", root, tmp_path / "store", exclude=["C*"])
    [record] = store.records()
    np.testing.assert_array_equal(store.array(record, "input")[0], values((7, *SHAPE[1:]), 0, 2500, 3)[:5] - 1024)
    np.testing.assert_array_equal(store.array(record, "image")[0], values(SHAPE, 0, 2500, 4)[1:] - 1024)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"origin": (-31.0, -17.0, 43.0)}, r"their affines place the same voxel up to"),
        ({"origin": (-30.0, -17.0, 42.0)}, r"their affines place the same voxel up to"),
        ({"origin": (-31.0, -17.0, 142.0)}, "have no slice at the same position"),
        ({"spacing": (2.5, 0.8, 0.75)}, "the spacings are"),
    ],
    ids=["between slices", "beside", "far away", "spacing"],
)
def test_grids_that_differ_are_named(tmp_path, options, message):
    write(tmp_path / "x/low", "L1", "Low Dose Images", seed=1, **options)
    write(tmp_path / "x/full", "L1", "Full Dose Images", seed=2)
    with pytest.raises(MedleyError, match=message) as raised:
        prepare("ldct", tmp_path / "x", tmp_path / "store")
    assert "x/low and " in str(raised.value)


def test_a_patient_without_one_of_the_doses_is_named(data, tmp_path):
    root, _, _ = data
    shutil.rmtree(root / "L004" / "1.2.3" / "a")
    with pytest.raises(MedleyError, match="L004: has 0 series called 'Low Dose Images', expected one"):
        prepare("ldct", root, tmp_path / "store")


def test_other_dicom_is_refused(tmp_path):
    write(tmp_path / "x", "L1", "Thorax", seed=1)
    with pytest.raises(MedleyError, match="holds no CT series called"):
        prepare("ldct", tmp_path / "x", tmp_path / "store")
