"""Real series against volumes that other programs made from them (skipped if the data is absent)."""

import numpy as np
import pytest

from medley.io.files import find_scans, open_scan, read, write


def test_ct_equals_its_volume_except_for_the_padding(shared):
    series = read(shared / "data/dicom/ct_crlm_1004")
    whole = read(shared / "data/restoration/ct/valid/crlm_1004_abdomen.nii.gz", modality="CT")
    assert series.data.min() == -3024
    np.testing.assert_array_equal(np.where(series.data == -3024, -1024, series.data), whole.data[13:29])
    np.testing.assert_allclose(series.affine[:3, :3], whole.affine[:3, :3], atol=1e-3)
    np.testing.assert_allclose(series.affine[:3, 3], (whole.affine @ [13, 0, 0, 1])[:3], atol=0.01)


def test_pet_equals_its_volume_in_suv(shared):
    series = read(shared / "data/dicom/pet_sts_001")
    whole = read(shared / "data/restoration/pet/train/sts_001_pet_wholebody.nii.gz", modality="PT", unit="SUV")
    assert series.source.factor == pytest.approx(0.000242902977, rel=1e-8)
    step = np.abs(whole.source.slope)
    assert np.abs(series.data - whole.data[110:190]).max() <= step / 2 * 1.001
    np.testing.assert_allclose(series.affine[:3, :3], whole.affine[:3, :3], atol=0.01)


def test_mr_equals_every_third_slice_of_it(shared):
    series = read(shared / "data/dicom/mr_cmb_crc_t2")
    whole = read(shared / "data/restoration/mri/train/cmb_crc_06489_t2.nii.gz", modality="MR")
    shown = [k for k in range(series.shape[0]) for z in range(whole.shape[0]) if _same_place(series, k, whole, z)]
    assert len(shown) >= 6
    for k in shown:
        z = next(z for z in range(whole.shape[0]) if _same_place(series, k, whole, z))
        np.testing.assert_allclose(series.data[k].clip(0, whole.data.max()), whole.data[z], atol=1)


def _same_place(one, k, other, z):
    return np.linalg.norm(one.affine @ [k, 0, 0, 1] - other.affine @ [z, 0, 0, 1]) < 0.1


@pytest.mark.parametrize("name", ["ct_crlm_1004", "pet_sts_001", "mr_cmb_crc_t2"])
def test_simpleitk_agrees_before_and_after(shared, tmp_path, name):
    sitk = pytest.importorskip("SimpleITK")
    folder = shared / "data/dicom" / name
    volume = read(folder)
    write(volume, tmp_path / "out")
    write(volume, tmp_path / "out.nii")
    before, after = (
        sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(one))) for one in (folder, tmp_path / "out")
    )
    nifti = sitk.ReadImage(str(tmp_path / "out.nii"))
    unit = volume.data.max() / 32767 if volume.modality == "PT" else 0
    np.testing.assert_allclose(sitk.GetArrayFromImage(before) * volume.source.factor, volume.data, rtol=1e-6)
    np.testing.assert_allclose(
        sitk.GetArrayFromImage(after) * volume.source.factor, volume.data, rtol=1e-6, atol=0.5 * unit
    )
    np.testing.assert_array_equal(sitk.GetArrayFromImage(nifti), volume.data)
    depth, rows, columns = (n - 1 for n in volume.shape)
    for index in ((0, 0, 0), (columns, 0, 0), (0, rows, 0), (0, 0, depth), (columns, rows, depth)):
        point = before.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(after.TransformIndexToPhysicalPoint(index), point, atol=1e-6)
        np.testing.assert_allclose(nifti.TransformIndexToPhysicalPoint(index), point, atol=1e-3)


def test_every_scan_of_the_collection_can_be_opened(shared):
    scans = find_scans(shared / "data/dicom")
    assert [scan.name for scan in scans] == ["ct_crlm_1004", "mr_cmb_crc_t2", "pet_sts_001"]
    assert [open_scan(scan).modality for scan in scans] == ["CT", "MR", "PT"]
