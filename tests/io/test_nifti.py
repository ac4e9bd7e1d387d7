"""NIfTI <-> Volume: orientation, values, types, and refusals."""

import gzip
import json

import nibabel as nib
import numpy as np
import pytest

from medley.errors import MedleyError
from medley.io.files import open_scan, read, write
from medley.volume import Slices, Volume

AFFINE = np.array([[-0.7, 0, 0, 30], [0, -0.8, 0, 20], [0, 0, 2.5, -40], [0, 0, 0, 1.0]])  # (i, j, k, 1) -> RAS
TURN = [2, 1, 0, 3]


def save(path, array, affine=AFFINE, change=None):
    image = nib.Nifti1Image(array, affine)
    if change:
        change(image.header)
    nib.save(image, path)
    return path


def oblique(phantoms):
    x, y = np.array(phantoms.OBLIQUE).reshape(2, 3)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([x * 0.7, y * 0.8, np.cross(x, y) * 2.5], axis=1)
    affine[:3, 3] = [1, 2, 3]
    return affine


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_slice_row_column_are_the_third_second_and_first_axis_of_the_file(tmp_path, phantoms, suffix):
    array = phantoms.values((7, 6, 5), -500, 500).astype(np.int16)
    volume = read(save(tmp_path / f"a{suffix}", array))
    assert volume.shape == (5, 6, 7)
    assert volume.data.dtype == np.float32
    assert volume.data[4, 2, 3] == array[3, 2, 4]
    np.testing.assert_allclose(volume.affine @ [4, 2, 3, 1], AFFINE @ [3, 2, 4, 1])
    assert volume.spacing == pytest.approx((2.5, 0.8, 0.7))


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", ">i2", "f4", "f8"])
def test_integer_types_are_kept_and_floating_types_become_float32(tmp_path, phantoms, dtype):
    array = phantoms.values((7, 6, 5), 0, 100).astype(dtype)
    source = save(tmp_path / "a.nii.gz", array)
    volume = read(source)
    write(volume, tmp_path / "b.nii.gz")
    written = nib.load(tmp_path / "b.nii.gz")
    kind = np.dtype(dtype)
    assert written.get_data_dtype() == (np.float32 if kind.kind == "f" else kind.newbyteorder("<"))
    np.testing.assert_array_equal(np.asarray(written.dataobj), array)
    np.testing.assert_allclose(written.affine, AFFINE, atol=1e-5)


def test_slope_and_intercept_are_kept_and_values_are_rounded_and_clipped(tmp_path, phantoms):
    array = phantoms.values((7, 6, 5), -100, 100).astype(np.int16)
    path = save(tmp_path / "a.nii", array, change=lambda header: header.set_slope_inter(0.001, 2))
    volume = read(path)
    np.testing.assert_allclose(volume.data, array.transpose(2, 1, 0) * 0.001 + 2, rtol=1e-6)
    data = volume.data.copy()
    data[0, 0, :3] = [1e6, -1e6, 2.0004]
    write(volume.with_data(data), tmp_path / "b.nii")
    proxy = nib.load(tmp_path / "b.nii").dataobj
    assert (proxy.slope, proxy.inter) == (pytest.approx(0.001), 2)
    stored = proxy.get_unscaled().transpose(2, 1, 0)
    assert stored[0, 0, :3].tolist() == [32767, -32768, 0]
    np.testing.assert_array_equal(stored.ravel()[3:], array.transpose(2, 1, 0).ravel()[3:])


def test_nibabel_and_simpleitk_agree_on_an_oblique_volume(tmp_path, phantoms):
    sitk = pytest.importorskip("SimpleITK")
    affine = oblique(phantoms)
    data = phantoms.values((5, 6, 7), 0, 999).astype(np.float32)
    volume = Volume(data, affine[:, TURN], "MR", "a.u.")
    write(volume, tmp_path / "a.nii.gz")
    by_nibabel = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(by_nibabel.get_fdata(), data.transpose(2, 1, 0))
    np.testing.assert_allclose(by_nibabel.get_sform(), affine, atol=1e-5)
    np.testing.assert_allclose(by_nibabel.get_qform(), affine, atol=1e-5)
    image = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), data)
    for i, j, k in ((0, 0, 0), (6, 0, 0), (0, 5, 0), (0, 0, 4), (3, 2, 1)):
        left, back, up = image.TransformIndexToPhysicalPoint((i, j, k))
        np.testing.assert_allclose((volume.affine @ [k, j, i, 1])[:3], [-left, -back, up], atol=1e-5)


def test_the_sform_is_preferred_to_the_qform_and_both_are_written_again(tmp_path, phantoms):
    array = phantoms.values((7, 6, 5), 0, 100).astype(np.int16)
    moved = AFFINE.copy()
    moved[:3, 3] = [1, 2, 3]

    def forms(header):
        header.set_sform(AFFINE, 4)
        header.set_qform(moved, 1)

    volume = read(save(tmp_path / "a.nii", array, change=forms))
    np.testing.assert_allclose(volume.affine[:, TURN], AFFINE, atol=1e-6)
    write(volume, tmp_path / "b.nii")
    header = nib.load(tmp_path / "b.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (4, 1)
    np.testing.assert_allclose(header.get_qform(), moved, atol=1e-5)


@pytest.mark.parametrize("codes", [(0, 1), (2, 0), (0, 0)])
def test_form_codes_are_kept(tmp_path, phantoms, codes):
    array = phantoms.values((7, 6, 5), 0, 100).astype(np.int16)

    def forms(header):
        header.set_sform(AFFINE if codes[0] else None, codes[0])
        header.set_qform(AFFINE if codes[1] else None, codes[1])

    source = save(tmp_path / "a.nii", array, None, change=forms)
    nib_affine = nib.load(source).affine
    volume = read(source)
    np.testing.assert_allclose(volume.affine[:, TURN], nib_affine)
    write(volume, tmp_path / "b.nii")
    again = nib.load(tmp_path / "b.nii")
    assert (int(again.header["sform_code"]), int(again.header["qform_code"])) == codes
    np.testing.assert_allclose(again.affine, nib_affine, atol=1e-5)
    # A finer grid needs a place in space, whatever the source had.
    finer = volume.affine @ np.diag([1, 0.5, 0.5, 1])
    write(
        volume.with_data(np.kron(volume.data, np.ones((1, 2, 2))).astype(np.float32), affine=finer), tmp_path / "c.nii"
    )
    np.testing.assert_allclose(read(tmp_path / "c.nii").affine, finer, atol=1e-5)


@pytest.mark.parametrize(("unit", "mm"), [("mm", 1), ("meter", 1000), ("micron", 0.001), ("unknown", 1)])
def test_other_units_of_length_are_converted_to_mm(tmp_path, phantoms, unit, mm):
    array = phantoms.values((7, 6, 5), 0, 100).astype(np.int16)
    in_unit = AFFINE @ np.diag([1 / mm, 1 / mm, 1 / mm, 1])
    path = save(tmp_path / "a.nii", array, in_unit, change=lambda header: header.set_xyzt_units(unit))
    volume = read(path)
    assert volume.spacing == pytest.approx((2.5, 0.8, 0.7))
    write(volume, tmp_path / "b.nii")
    assert nib.load(tmp_path / "b.nii").header.get_xyzt_units()[0] == "mm"
    assert read(tmp_path / "b.nii").spacing == pytest.approx(volume.spacing)


def test_modality_and_unit_from_the_description_a_sidecar_or_the_user(tmp_path):
    data = np.ones((2, 3, 4), np.float32)
    write(Volume(data, np.eye(4), "PT", "SUV"), tmp_path / "note.nii.gz", derivation="medley 0.1.0 " + "x" * 80)
    assert (read(tmp_path / "note.nii.gz").modality, read(tmp_path / "note.nii.gz").unit) == ("PT", "SUV")
    write(Volume(data, np.eye(4)), tmp_path / "plain.nii.gz")
    plain = tmp_path / "plain.nii.gz"
    assert (read(plain).modality, read(plain).unit) == ("", "")
    assert read(plain, modality="CT").unit == "HU"
    assert read(plain, modality="PT").unit == ""
    assert read(plain, modality="PT", unit="SUV").unit == "SUV"
    for said, expected in (
        ({"Modality": "MR"}, ("MR", "a.u.")),
        ({"Modality": "PT", "Units": "Bq/mL"}, ("PT", "")),
        ({"Modality": "PT", "Units": "g/mL"}, ("PT", "SUV")),
        ({"Units": "g/mL"}, ("", "")),
    ):
        (tmp_path / "plain.json").write_text(json.dumps(said))
        assert (read(plain).modality, read(plain).unit) == expected
    (tmp_path / "plain.json").write_text(json.dumps({"Modality": "MR"}))
    with pytest.raises(MedleyError, match="its modality is MR, not CT"):
        open_scan(plain, modality="CT")
    (tmp_path / "plain.json").write_text("{")
    with pytest.raises(MedleyError, match=r"plain\.json: cannot be read as JSON"):
        open_scan(plain)


def test_further_axes_of_length_one_are_ignored(tmp_path, phantoms):
    array = phantoms.values((7, 6, 5), 0, 100).astype(np.int16)
    np.testing.assert_array_equal(read(save(tmp_path / "a.nii", array[..., None])).data, array.transpose(2, 1, 0))
    np.testing.assert_array_equal(
        read(save(tmp_path / "b.nii", array[:, :, 0])).data, array[:, :, :1].transpose(2, 1, 0)
    )


def refused(path, *words):
    with pytest.raises(MedleyError) as caught:
        open_scan(path)
    for word in (path.name, *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinite_values_are_refused(tmp_path, bad):
    array = np.ones((7, 6, 5), np.float32)
    array[1, 2, 3] = bad
    refused(save(tmp_path / "a.nii.gz", array), "slice 3", "NaN or infinite")


def test_several_volumes_complex_values_and_colours_are_refused(tmp_path):
    refused(save(tmp_path / "a.nii", np.ones((4, 4, 4, 3), np.int16)), "(4, 4, 4, 3)", "one volume of three axes")
    refused(save(tmp_path / "b.nii", np.ones((4, 4, 4), np.complex64)), "complex64")
    colour = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    refused(save(tmp_path / "c.nii", colour), "complex or colour")


def test_sheared_and_flat_axes_are_refused(tmp_path):
    sheared = AFFINE.copy()
    sheared[1, 2] = 0.5
    refused(save(tmp_path / "a.nii", np.ones((4, 4, 4), np.int16), sheared), "right angles", "0.196")
    flat = AFFINE.copy()
    flat[:, 2] = 0
    image = nib.Nifti1Image(np.ones((4, 4, 4), np.int16), AFFINE)
    image.header["srow_z"] = [0, 0, 0, 1]
    nib.save(image, tmp_path / "b.nii")
    nib_header = nib.Nifti1Image(np.ones((4, 4, 4), np.int16), AFFINE).header
    nib_header["srow_z"] = [0, 0, 0, 1]
    raw = bytearray((tmp_path / "b.nii").read_bytes())
    raw[:348] = nib_header.binaryblock[:348]
    raw[108:112] = np.float32(352).tobytes()
    (tmp_path / "b.nii").write_bytes(raw)
    refused(tmp_path / "b.nii", "its voxels measure 0 x")


def test_files_of_another_kind_and_cut_files_are_refused(tmp_path):
    (tmp_path / "text.nii").write_text("no picture " * 100)
    refused(tmp_path / "text.nii", "cannot be read as NIfTI")
    (tmp_path / "text.nii.gz").write_text("no picture " * 100)
    refused(tmp_path / "text.nii.gz", "cannot be read as NIfTI")
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    refused(tmp_path / "empty.nii.gz", "cannot be read as NIfTI")
    whole = save(tmp_path / "whole.nii.gz", np.arange(4000, dtype=np.int32).reshape(10, 20, 20)).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MedleyError, match=r"cut\.nii\.gz: cannot be read as NIfTI.*cut short"):
        read(tmp_path / "cut.nii.gz")
    (tmp_path / "cut.nii").write_bytes(gzip.decompress(whole)[:3000])
    refused(tmp_path / "cut.nii", "cut short")


def test_streamed_slices_are_written_and_the_bytes_are_reproducible(tmp_path, phantoms):
    data = phantoms.values((5, 6, 7), 0, 999).astype(np.float32)
    volume = Volume(Slices(data.shape, lambda: iter(data)), np.diag([2.5, 0.8, 0.7, 1]))
    write(volume, tmp_path / "a.nii.gz")
    write(volume, tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(read(tmp_path / "a.nii.gz").data, data)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
