"""DICOM -> Volume: values, order and place, against what was written and against SimpleITK."""

import shutil

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medley.errors import MedleyError
from medley.io.files import open_scan, read


def simpleitk_series(folder):
    """(values, affine (slice, row, column, 1) -> LPS mm) as SimpleITK reads a series."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    affine = np.eye(4)
    affine[:3, :3] = (np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), affine


def test_a_ct_series_is_read_in_hu_and_in_the_order_of_positions(tmp_path, phantoms):
    phantoms.write_ct_series(tmp_path / "ct")
    volume = read(tmp_path / "ct")
    assert (volume.modality, volume.unit, volume.shape) == ("CT", "HU", (5, 12, 16))
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, phantoms.values((5, 12, 16), -1024, 1500))
    assert volume.spacing == pytest.approx((2.5, 0.8, 0.7))
    # LPS (-31, -17, 42) is RAS (31, 17, 42); columns run to the left, rows to the back.
    np.testing.assert_allclose(volume.affine @ [0, 0, 0, 1], [31, 17, 42, 1])
    np.testing.assert_allclose(volume.affine @ [2, 3, 4, 1], [31 - 4 * 0.7, 17 - 3 * 0.8, 42 + 2 * 2.5, 1])


def test_mr_without_rescale_tags_keeps_the_stored_numbers(tmp_path, phantoms):
    phantoms.write_mr_series(tmp_path / "mr")
    volume = read(tmp_path / "mr")
    assert (volume.modality, volume.unit) == ("MR", "a.u.")
    np.testing.assert_array_equal(volume.data, phantoms.values((5, 12, 16), 0, 900))


def test_every_slice_has_its_own_slope(tmp_path, phantoms):
    phantoms.write_mr_series(tmp_path / "mr", slope=[1, 2, 0.5, 4, 3], intercept=-7)
    expected = phantoms.values((5, 12, 16), 0, 900) * np.array([1, 2, 0.5, 4, 3]).reshape(5, 1, 1) - 7
    np.testing.assert_allclose(read(tmp_path / "mr").data, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "orientation", ["AXIAL", "OBLIQUE", (0, 1, 0, 0, 0, -1), (0, 0, -1, 0, -1, 0), (-1, 0, 0, 0, 1, 0)]
)
def test_values_and_points_agree_with_simpleitk(tmp_path, phantoms, orientation):
    orientation = getattr(phantoms, orientation) if isinstance(orientation, str) else orientation
    phantoms.write_ct_series(tmp_path / "ct", orientation=orientation)
    volume = read(tmp_path / "ct")
    values, lps = simpleitk_series(tmp_path / "ct")
    np.testing.assert_array_equal(volume.data, values)
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ volume.affine, lps, atol=1e-5)


def test_slices_are_decoded_one_at_a_time_in_every_iteration(tmp_path, phantoms, monkeypatch):
    from medley.io.dicom import decode as dicom_decode

    phantoms.write_ct_series(tmp_path / "ct")
    decoded = []
    real = dicom_decode.decoded_frames
    monkeypatch.setattr(dicom_decode, "decoded_frames", lambda *args: decoded.append(args) or real(*args))
    volume = open_scan(tmp_path / "ct")
    assert decoded == []
    slices = iter(volume.data)
    next(slices), next(slices)
    assert len(decoded) == 2
    np.testing.assert_array_equal(np.asarray(volume.data), np.asarray(volume.data))


def test_a_single_slice_has_the_slice_thickness_as_its_depth(tmp_path, phantoms):
    (file,) = phantoms.write_ct_series(tmp_path / "ct", (1, 12, 16))
    assert read(file).spacing == pytest.approx((2.5, 0.8, 0.7))
    assert read(tmp_path / "ct").shape == (1, 12, 16)


def test_bits_above_those_used_do_not_count(tmp_path, phantoms):
    def twelve_bits(ds, k):
        stored = np.frombuffer(ds.PixelData, "<i2") & 0x0FFF
        ds.PixelData = (stored | 0x5000).astype("<i2").tobytes()  # an overlay in the spare bits
        ds.BitsStored, ds.HighBit = 12, 11

    phantoms.write_mr_series(tmp_path / "mr", signed=True, change=twelve_bits, seed=1)
    np.testing.assert_array_equal(read(tmp_path / "mr").data, phantoms.values((5, 12, 16), 0, 900, seed=1))
    stored = phantoms.values((3, 12, 16), -800, 800)
    phantoms.write_series(tmp_path / "signed", stored, "MR", change=twelve_bits)
    np.testing.assert_array_equal(read(tmp_path / "signed").data, stored)


def test_small_differences_of_slice_distance_are_real_and_averaged(tmp_path, phantoms):
    heights = [0, 3.27, 6.46, 9.73, 13.02]

    def place(ds, k):
        ds.ImagePositionPatient = [0, 0, heights[k]]

    phantoms.write_ct_series(tmp_path / "ct", change=place)
    assert read(tmp_path / "ct").spacing[0] == pytest.approx(13.02 / 4)


def test_scouts_and_other_objects_in_the_folder_are_passed_over(tmp_path, phantoms):
    files = phantoms.write_ct_series(tmp_path / "ct")
    scout = dcmread(files[0])
    scout.ImageType, scout.SOPInstanceUID = ["ORIGINAL", "PRIMARY", "LOCALIZER"], "1.2.3"
    scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    scout.save_as(tmp_path / "ct" / "scout.dcm")
    for name in ("rtstruct.dcm", "test-SR.dcm", "rtplan.dcm", "rtdose.dcm", "dicomdirtests/DICOMDIR"):
        shutil.copy(get_testdata_file(name, download=False), tmp_path / "ct")
    (tmp_path / "ct" / "README.txt").write_text("a text")
    (tmp_path / "ct" / ".hidden.dcm").write_text("no DICOM")
    assert read(tmp_path / "ct").shape == (5, 12, 16)


@pytest.mark.parametrize("orientation", ["AXIAL", "OBLIQUE"])
def test_enhanced_multi_frame_with_shared_and_per_frame_groups(tmp_path, phantoms, orientation):
    stored = phantoms.values((5, 12, 16), 0, 900)
    slopes = [1, 2, 0.5, 4, 3]
    turned = getattr(phantoms, orientation)
    file = phantoms.write_enhanced(
        tmp_path / "e.dcm", stored, "MR", order=[3, 0, 4, 1, 2], slopes=slopes, orientation=turned
    )
    phantoms.write_mr_series(tmp_path / "classic", orientation=turned)
    volume, classic = read(file), read(tmp_path / "classic")
    np.testing.assert_allclose(volume.data, stored * np.array(slopes).reshape(5, 1, 1), rtol=1e-6)
    np.testing.assert_allclose(volume.affine, classic.affine, atol=1e-5)
    assert (volume.modality, volume.unit) == ("MR", "a.u.")


def test_enhanced_ct_with_a_shared_rescale(tmp_path, phantoms):
    stored = phantoms.values((4, 12, 16), 0, 2000)
    volume = read(phantoms.write_enhanced(tmp_path / "e.dcm", stored, "CT", intercept=-1024))
    np.testing.assert_array_equal(volume.data, stored - 1024.0)
    assert volume.unit == "HU"


def recompress(source, target, syntax):
    """Write a DICOM file again in another transfer syntax with GDCM."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(target))
    assert writer.Write()
    assert dcmread(target).file_meta.TransferSyntaxUID == syntax


SYNTAXES = [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda one: one.name.split(",")[0])
@pytest.mark.parametrize("signed", [True, False])
def test_compressed_transfer_syntaxes(tmp_path, phantoms, syntax, signed):
    stored = phantoms.values((3, 24, 20), -1000 if signed else 0, 3000)
    files = phantoms.write_series(tmp_path / "plain", stored, "MR", signed=signed)
    (tmp_path / "packed").mkdir()
    for file in files:
        recompress(file, tmp_path / "packed" / file.name, syntax)
    np.testing.assert_array_equal(read(tmp_path / "packed").data, stored)


@pytest.mark.parametrize("syntax", SYNTAXES[2:], ids=lambda one: one.name.split(",")[0])
def test_compressed_enhanced_multi_frame(tmp_path, phantoms, syntax):
    stored = phantoms.values((4, 24, 20), 0, 3000)
    plain = phantoms.write_enhanced(tmp_path / "e.dcm", stored, "MR", order=[2, 0, 3, 1])
    recompress(plain, tmp_path / "packed.dcm", syntax)
    packed = dcmread(tmp_path / "packed.dcm")  # GDCM writes positions of its own into the groups
    for keyword in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        setattr(packed, keyword, dcmread(plain)[keyword].value)
    packed.save_as(tmp_path / "packed.dcm")
    np.testing.assert_array_equal(read(tmp_path / "packed.dcm").data, stored)


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
    ],
)
def test_small_real_files_agree_with_their_plain_partner(name):
    plain = read(get_testdata_file("MR_small.dcm", download=False))
    assert plain.data.max() > 1000
    other = read(get_testdata_file(name, download=False))
    np.testing.assert_array_equal(other.data, plain.data)
    np.testing.assert_allclose(other.affine, plain.affine)


def test_the_real_ct_slice_of_pydicom(tmp_path):
    file = get_testdata_file("CT_small.dcm", download=False)
    volume, header = read(file), dcmread(file)
    np.testing.assert_array_equal(volume.data[0], header.pixel_array * 1.0 - 1024)
    assert (volume.modality, volume.unit) == ("CT", "HU")
    assert volume.spacing == pytest.approx((5, 0.661468, 0.661468))


def test_deflated_files_and_files_without_preamble(tmp_path, phantoms):
    files = phantoms.write_mr_series(tmp_path / "mr", (3, 12, 16))
    expected = read(tmp_path / "mr").data
    for file in files:
        ds = dcmread(file)
        ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        ds.save_as(file)
    np.testing.assert_array_equal(read(tmp_path / "mr").data, expected)
    for file in files:
        ds = dcmread(file)
        del ds.file_meta
        ds.save_as(file.with_suffix(""), implicit_vr=True, little_endian=True)
        file.unlink()
    np.testing.assert_array_equal(read(tmp_path / "mr").data, expected)


def test_a_frame_that_cannot_be_decoded_is_one_clear_error(tmp_path, phantoms):
    (file,) = phantoms.write_mr_series(tmp_path, (1, 24, 20))
    recompress(file, file, JPEG2000Lossless)
    raw = bytearray(file.read_bytes())
    start = raw.index(b"\xff\x4f\xff\x51")
    raw[start : start + 200] = bytes(200)
    file.write_bytes(raw)
    volume = open_scan(file)
    with pytest.raises(MedleyError, match=r"001\.dcm: holds a frame that is not JPEG 2000"):
        volume.load()
