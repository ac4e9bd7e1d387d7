"""Volume -> a derived DICOM series: what is new, what stays, what must not be passed on, and where it lies."""

import os
import stat

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from medley import __version__
from medley.errors import MedleyError
from medley.io.dicom.image import choose_rescale
from medley.io.files import open_scan, read, write
from medley.volume import Slices, Volume

DERIVATION = "medley 0.1.0 tat-tiny ct-denoise strength 1"


def headers(folder):
    return [dcmread(file) for file in sorted(folder.iterdir())]


def test_values_and_position_are_read_back(tmp_path, phantoms):
    phantoms.write_ct_series(tmp_path / "ct", orientation=phantoms.OBLIQUE)
    volume = read(tmp_path / "ct")
    restored = volume.with_data(volume.data + np.float32(0.4))
    assert write(restored, tmp_path / "out", derivation=DERIVATION) == tmp_path / "out"
    again = read(tmp_path / "out")
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-9)
    np.testing.assert_array_equal(again.data, volume.data)  # 0.4 HU is less than half a stored unit
    assert (again.modality, again.unit) == ("CT", "HU")
    assert [file.name for file in sorted((tmp_path / "out").iterdir())] == [f"IM-000{k}.dcm" for k in range(1, 6)]


def test_simpleitk_reads_what_medley_read(tmp_path, phantoms):
    sitk = pytest.importorskip("SimpleITK")
    phantoms.write_pet_series(tmp_path / "pet", orientation=phantoms.OBLIQUE)
    volume = read(tmp_path / "pet")
    write(volume, tmp_path / "out")
    first, second = (
        sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / name))) for name in ("pet", "out")
    )
    np.testing.assert_allclose(second.GetDirection(), first.GetDirection(), atol=1e-9)
    np.testing.assert_allclose(second.GetOrigin(), first.GetOrigin(), atol=1e-9)
    np.testing.assert_allclose(second.GetSpacing(), first.GetSpacing(), atol=1e-9)
    becquerel = sitk.GetArrayFromImage(second)
    np.testing.assert_allclose(becquerel * phantoms.SUV_FACTOR, volume.data, atol=volume.data.max() / 32767 / 2)


def test_new_series_and_instances_of_the_same_study(tmp_path, phantoms):
    files = phantoms.write_ct_series(tmp_path / "ct")
    write(read(tmp_path / "ct"), tmp_path / "out", derivation=DERIVATION)
    before, after = [dcmread(file) for file in files], headers(tmp_path / "out")
    for old, new in zip(before, after, strict=True):
        for keyword in (
            "StudyInstanceUID",
            "FrameOfReferenceUID",
            "PatientID",
            "PatientName",
            "StudyDate",
            "SOPClassUID",
        ):
            assert new[keyword].value == old[keyword].value, keyword
        assert new.SeriesInstanceUID != old.SeriesInstanceUID
        assert new.SOPInstanceUID not in {one.SOPInstanceUID for one in before}
        assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID
        assert new.SourceImageSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
        assert new.ImageType == ["DERIVED", "SECONDARY", "AXIAL"]
        assert new.DerivationDescription == DERIVATION
        assert new.SeriesDescription == "CT phantom (medley)"
        assert (new.Manufacturer, new.SoftwareVersions) == ("medley", __version__)
    assert str(after[0].PatientName) == "Müller^Jörg"
    assert len({one.SeriesInstanceUID for one in after}) == 1
    assert len({one.SOPInstanceUID for one in after}) == 5


def test_private_overlay_and_unlisted_elements_stay_behind(tmp_path, phantoms):
    def spoil(ds, k):
        block = ds.private_block(0x0009, "SECRET", create=True)
        block.add_new(1, "LO", "private words")
        item = Dataset()
        item.private_block(0x0009, "SECRET", create=True).add_new(1, "LO", "private words")
        item.CodeValue = "1"
        ds.AnatomicRegionSequence = [item]
        ds.add_new((0x6000, 0x3000), "OW", bytes(24))
        ds.add_new((0x6000, 0x0010), "US", 12)
        ds.ImageComments, ds.OperatorsName, ds.PatientAddress = "private words", "private^words", "private words"
        ds.SmallestImagePixelValue = 17

    phantoms.write_ct_series(tmp_path / "ct", change=spoil)
    write(read(tmp_path / "ct"), tmp_path / "out")
    for file in (tmp_path / "out").iterdir():
        assert b"private" not in file.read_bytes()
        new = dcmread(file)
        assert not any(element.tag.is_private or element.tag.group >> 8 == 0x60 for element in new.iterall())
        assert "SmallestImagePixelValue" not in new
        assert new.AnatomicRegionSequence[0].CodeValue == "1"


def test_burned_in_names_are_not_passed_on(tmp_path, phantoms):
    def burn(ds, k):
        ds.BurnedInAnnotation = "YES"

    phantoms.write_ct_series(tmp_path / "ct", change=burn)
    with pytest.raises(MedleyError, match="BurnedInAnnotation is YES"):
        write(read(tmp_path / "ct"), tmp_path / "out")
    assert [one.name for one in tmp_path.iterdir()] == ["ct"]


def test_a_long_series_description_keeps_the_mark_within_64_characters(tmp_path, phantoms):
    def describe(ds, k):
        ds.SeriesDescription = "x" * 64

    phantoms.write_ct_series(tmp_path / "ct", change=describe)
    write(read(tmp_path / "ct"), tmp_path / "out")
    text = headers(tmp_path / "out")[0].SeriesDescription
    assert len(text) == 64
    assert text.endswith("x (medley)")


@pytest.mark.parametrize(
    ("low", "high", "slope", "intercept"),
    [
        (-1024, 3071, 1, -1024),
        (-3024, 30000, 1, -1024),
        (0, 65535, 1, 0),
        (-5e4, 8e4, 1, 0),
        (-1, 1, 0.001, 0),
        (0, 5000, -1, 100),
        (7, 7, 1, 0),
        (1e5, 1e5 + 10, 1, 0),
    ],
)
def test_every_value_is_right_to_half_a_stored_unit(low, high, slope, intercept):
    exact = np.linspace(low, high, 5001)
    m, b = choose_rescale(exact, slope, intercept)
    stored = np.rint((exact - b) / m)
    assert stored.min() >= -32768
    assert stored.max() <= 32767
    assert np.abs(stored * m + b - exact).max() <= abs(m) / 2 * (1 + 1e-6)
    assert abs(m) == pytest.approx(max(abs(slope), (high - low) / 65534))


def test_the_rescale_of_the_source_is_kept_where_the_values_fit(tmp_path, phantoms):
    def pad(ds, k):
        ds.add_new("PixelPaddingValue", "US", 65536 - 2000)  # as some scanners write -2000

    phantoms.write_ct_series(tmp_path / "ct", change=pad)
    volume = read(tmp_path / "ct")
    data = volume.data.copy()
    data[3, 0, 0] = 40000
    write(volume.with_data(data), tmp_path / "out")
    new = headers(tmp_path / "out")
    assert [(one.RescaleSlope, one.RescaleIntercept) for one in new[:3]] == [(1, -1024)] * 3
    assert (new[3].RescaleSlope, new[3].PixelRepresentation) == (1, 1)
    assert new[3].RescaleIntercept != -1024
    assert new[0].PixelPaddingValue == -2000
    assert "PixelPaddingValue" not in new[3]
    np.testing.assert_array_equal(read(tmp_path / "out").data, data)


def test_mr_gets_a_rescale_only_where_it_needs_one(tmp_path, phantoms):
    phantoms.write_mr_series(tmp_path / "mr")
    volume = read(tmp_path / "mr")
    data = volume.data.copy()
    data[1] *= 70  # up to 63000: more than 16 bits signed
    write(volume.with_data(data), tmp_path / "out")
    new = headers(tmp_path / "out")
    assert ["RescaleSlope" in one for one in new] == [False, True, False, False, False]
    np.testing.assert_array_equal(read(tmp_path / "out").data, data)


def test_pet_goes_back_to_becquerel_with_a_slope_for_every_slice(tmp_path, phantoms):
    phantoms.write_pet_series(tmp_path / "pet")
    volume = read(tmp_path / "pet")
    data = volume.data * np.float32(0.7) - np.float32(0.01)
    data[2] = 0
    write(volume.with_data(data), tmp_path / "out")
    new = headers(tmp_path / "out")
    assert {one.Units for one in new} == {"BQML"}
    assert {one.RescaleIntercept for one in new} == {0}
    assert len({one.RescaleSlope for one in new}) == 5
    assert sorted(one.ImageIndex for one in new) == [1, 2, 3, 4, 5]
    assert {one.NumberOfSlices for one in new} == {5}
    assert new[0].ImageType[:2] == ["DERIVED", "PRIMARY"]
    again = read(tmp_path / "out")
    for k in range(5):
        half_a_unit = float(new[k].RescaleSlope) * phantoms.SUV_FACTOR / 2
        assert np.abs(again.data[k] - data[k]).max() <= half_a_unit * (1 + 1e-4) + 1e-7


def test_pet_that_is_in_suv_stays_so(tmp_path, phantoms):
    def in_suv(ds, k):
        ds.Units, ds.SUVType, ds.RescaleSlope = "GML", "BW", 0.001

    phantoms.write_pet_series(tmp_path / "pet", change=in_suv)
    volume = read(tmp_path / "pet")
    write(volume, tmp_path / "out")
    assert headers(tmp_path / "out")[0].Units == "GML"
    np.testing.assert_allclose(read(tmp_path / "out").data, volume.data, atol=volume.data.max() / 32767 / 2 * 1.001)


def test_uneven_positions_of_the_source_are_kept(tmp_path, phantoms):
    heights = [0, 3.27, 6.46, 9.73, 13.02]

    def place(ds, k):
        ds.ImagePositionPatient = [-5, 6, heights[k]]

    phantoms.write_ct_series(tmp_path / "ct", change=place)
    write(read(tmp_path / "ct"), tmp_path / "out")
    assert [one.ImagePositionPatient for one in headers(tmp_path / "out")] == [[-5, 6, z] for z in heights]


def test_a_finer_grid_in_plane_has_its_own_rows_columns_spacing_and_corner(tmp_path, phantoms):
    phantoms.write_mr_series(tmp_path / "mr", orientation=phantoms.OBLIQUE)
    volume = read(tmp_path / "mr")
    finer = volume.affine @ np.diag([1, 0.5, 0.5, 1])
    finer[:3, 3] -= volume.affine[:3, 1] / 4 + volume.affine[:3, 2] / 4
    fine = volume.with_data(np.kron(volume.data, np.ones((1, 2, 2), np.float32)), affine=finer)
    write(fine, tmp_path / "out")
    again, header = read(tmp_path / "out"), headers(tmp_path / "out")[0]
    np.testing.assert_allclose(again.affine, finer, atol=1e-8)
    np.testing.assert_array_equal(again.data, fine.data)
    assert (header.Rows, header.Columns, header.PixelSpacing) == (24, 32, [0.4, 0.35])
    assert "SourceImageSequence" in header


def test_another_number_of_slices_follows_the_affine_and_names_no_source_image(tmp_path, phantoms):
    phantoms.write_ct_series(tmp_path / "ct")
    volume = read(tmp_path / "ct")
    affine = volume.affine @ np.diag([2, 1, 1, 1])
    write(volume.with_data(volume.data[::2], affine=affine), tmp_path / "out")
    again, header = read(tmp_path / "out"), headers(tmp_path / "out")[1]
    np.testing.assert_allclose(again.affine, affine, atol=1e-9)
    assert "SourceImageSequence" not in header
    assert header.SliceThickness == 5


def test_as_many_slices_elsewhere_are_not_those_of_the_source(tmp_path, phantoms):
    phantoms.write_ct_series(tmp_path / "ct")
    volume = read(tmp_path / "ct")
    for name, new_slice in (("moved", [1, 0, 0, 1]), ("closer", [0.9, 0, 0, 0])):
        turn = np.eye(4)
        turn[0] = new_slice
        write(volume.with_data(volume.data, affine=volume.affine @ turn), tmp_path / name)
        np.testing.assert_allclose(read(tmp_path / name).affine, volume.affine @ turn, atol=1e-9)
        assert not any("SourceImageSequence" in one for one in headers(tmp_path / name))


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_an_enhanced_source_becomes_a_classic_series(tmp_path, phantoms, modality):
    stored = phantoms.values((4, 12, 16), 0, 900)
    file = phantoms.write_enhanced(tmp_path / "e.dcm", stored, modality, order=[2, 0, 3, 1])
    volume = read(file)
    write(volume, tmp_path / "out")
    again, new = read(tmp_path / "out"), headers(tmp_path / "out")
    np.testing.assert_array_equal(again.data, volume.data)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-9)
    assert new[0].SOPClassUID == phantoms.CLASSES[modality]
    assert [one.SourceImageSequence[0].ReferencedFrameNumber for one in new] == [2, 4, 1, 3]
    if modality == "MR":
        assert (new[0].EchoTime, new[0].RepetitionTime, new[0].FlipAngle) == (80, 4000, 90)


def test_slices_are_taken_once_and_in_order(tmp_path, phantoms):
    phantoms.write_ct_series(tmp_path / "ct")
    volume = open_scan(tmp_path / "ct")
    passes = []

    def once():
        passes.append(1)
        yield from volume.data

    write(volume.with_data(Slices(volume.shape, once)), tmp_path / "out")
    assert passes == [1]
    np.testing.assert_array_equal(read(tmp_path / "out").data, volume.load().data)


def test_a_volume_from_elsewhere_cannot_become_dicom(tmp_path):
    volume = Volume(np.zeros((2, 3, 4), np.float32), np.eye(4), "CT", "HU")
    with pytest.raises(MedleyError, match=r"out: a DICOM series needs .*read from DICOM; write \.nii\.gz"):
        write(volume, tmp_path / "out")


def test_only_a_series_medley_wrote_is_overwritten(tmp_path, phantoms):
    phantoms.write_ct_series(tmp_path / "ct")
    volume = read(tmp_path / "ct")
    for overwrite in (False, True):
        with pytest.raises(MedleyError, match="holds the series this scan was read from"):
            write(volume, tmp_path / "ct", overwrite=overwrite)
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("years of work")
    with pytest.raises(MedleyError, match=r"holds thesis\.txt"):
        write(volume, tmp_path / "papers", overwrite=True)
    (tmp_path / "empty").mkdir()
    write(volume, tmp_path / "empty")
    with pytest.raises(MedleyError, match="exists already"):
        write(volume, tmp_path / "empty")
    write(volume.with_data(volume.data[:, ::-1].copy()), tmp_path / "empty", overwrite=True)
    np.testing.assert_array_equal(read(tmp_path / "empty").data, volume.data[:, ::-1])
    assert sorted(one.name for one in tmp_path.iterdir()) == ["ct", "empty", "papers"]


@pytest.mark.parametrize("order", [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [12, 40, 7, 8, 100]])
def test_slices_keep_the_instance_numbers_of_the_source(tmp_path, phantoms, order):
    """They were once numbered in the opposite order."""

    def number(ds, k):
        ds.InstanceNumber = order[k]

    phantoms.write_ct_series(tmp_path / "ct", change=number)
    before = {
        dcmread(frame.path).SOPInstanceUID: dcmread(frame.path).InstanceNumber
        for frame in read(tmp_path / "ct").source.frames
    }
    write(read(tmp_path / "ct"), tmp_path / "out")
    for new in headers(tmp_path / "out"):
        assert new.InstanceNumber == before[new.SourceImageSequence[0].ReferencedSOPInstanceUID]


@pytest.mark.parametrize(("numbers", "expected"), [([5, 4, 3, 2, 1], [3, 2, 1]), ([3, 3, 3, 3, 3], [1, 2, 3])])
def test_other_slices_are_numbered_in_the_direction_of_the_source(tmp_path, phantoms, numbers, expected):
    def number(ds, k):
        ds.InstanceNumber = numbers[k]

    phantoms.write_ct_series(tmp_path / "ct", change=number)
    volume = read(tmp_path / "ct")
    up = volume.source.frames[0].number == numbers[0]
    write(volume.with_data(volume.data[::2], affine=volume.affine @ np.diag([2, 1, 1, 1])), tmp_path / "out")
    found = [int(one.InstanceNumber) for one in headers(tmp_path / "out")]
    assert found == (expected if up else expected[::-1] if len(set(numbers)) > 1 else expected)


def test_repeated_runs_give_series_of_their_own_with_the_number_of_the_scan_in_front(tmp_path, phantoms):
    phantoms.write_ct_series(tmp_path / "ct")
    volume = read(tmp_path / "ct")
    uids = {dcmread(volume.source.frames[0].path).SeriesInstanceUID}
    for k in range(5):
        write(volume, tmp_path / f"out{k}", mark=f"medley tat-tiny strength 0.{k}")
        new = headers(tmp_path / f"out{k}")
        assert len({one.SeriesNumber for one in new}) == 1
        assert new[0].SeriesDescription == f"CT phantom (medley tat-tiny strength 0.{k})"
        assert str(new[0].SeriesNumber).startswith("3")
        assert new[0].SeriesNumber > 3
        uids.add(new[0].SeriesInstanceUID)
    assert len(uids) == 6


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SOPInstanceUID"])
def test_a_scan_without_the_uids_that_a_result_refers_to_is_not_written(tmp_path, phantoms, keyword):
    phantoms.write_ct_series(tmp_path / "ct")
    volume = open_scan(tmp_path / "ct")
    for file in volume.source.paths:
        header = dcmread(file)
        delattr(header, keyword)
        header.save_as(file, enforce_file_format=False)
    with pytest.raises(MedleyError, match=rf"\.dcm: has no {keyword}, so no DICOM object that refers to it"):
        write(volume, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_results_have_at_most_the_permissions_of_the_source(tmp_path, phantoms):
    for file in phantoms.write_ct_series(tmp_path / "ct"):
        file.chmod(0o600)
    write(read(tmp_path / "ct"), tmp_path / "out")
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "out").iterdir()} == {0o600}
