"""Radiographs, ultrasound and OCT: images without a place in the patient, read and written."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from medley.errors import MedleyError
from medley.io.files import find_scans, open_scan, read, write

RNG = np.random.default_rng(0)
CASES = [("CR", 12), ("DX", 14), ("US", 8), ("OPT", 8)]


def stored(bits: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, 2**bits, shape)


@pytest.mark.parametrize(("modality", "bits"), CASES)
def test_one_frame_is_a_volume_of_grey_levels(phantoms, tmp_path, modality, bits):
    values = stored(bits, 9, 11)
    volume = read(phantoms.write_planar(tmp_path / "a.dcm", values, modality, bits=bits))
    assert (volume.modality, volume.unit, volume.shape) == (modality, "grey levels", (1, 9, 11))
    assert np.array_equal(volume.data[0], values)


@pytest.mark.parametrize(("modality", "bits"), CASES)
def test_what_is_not_changed_is_written_with_the_same_stored_values(phantoms, tmp_path, modality, bits):
    values = stored(bits, 9, 11)
    source = phantoms.write_planar(tmp_path / "a.dcm", values, modality, bits=bits)
    write(read(source), tmp_path / "out", derivation="medley changed nothing")
    before, after = pydicom.dcmread(source), pydicom.dcmread(tmp_path / "out" / "IM-0001.dcm")
    assert np.array_equal(after.pixel_array, values)
    for keyword in ("BitsAllocated", "BitsStored", "Modality", "PatientID", "StudyInstanceUID", "InstanceNumber"):
        assert after[keyword].value == before[keyword].value, keyword
    assert after.SOPClassUID == SecondaryCaptureImageStorage
    assert after.SeriesInstanceUID != before.SeriesInstanceUID
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert after.ImageType[0] == "DERIVED"
    assert after.DerivationDescription == "medley changed nothing"
    assert "ImagePositionPatient" not in after  # the source has none
    assert np.array_equal(read(tmp_path / "out").data[0], values)


def test_values_beyond_the_bits_are_clipped(phantoms, tmp_path):
    volume = read(phantoms.write_planar(tmp_path / "a.dcm", stored(12, 2, 2), "DX", bits=12))
    write(volume.with_data(np.array([[[-5, 0.6], [5000, 4095]]], np.float32)), tmp_path / "out")
    assert np.array_equal(read(tmp_path / "out").data[0], [[0, 1], [4095, 4095]])


@pytest.mark.parametrize("modality", ["US", "OPT"])
def test_frames_of_a_file_are_slices_and_keep_their_order(phantoms, tmp_path, modality):
    values = stored(8, 12, 5, 7)
    volume = open_scan(phantoms.write_planar(tmp_path / "a.dcm", values, modality))
    assert volume.shape == (12, 5, 7)
    assert np.array_equal(np.asarray(volume.data), values)
    write(volume, tmp_path / "out")
    assert np.array_equal(read(tmp_path / "out").data, values)
    item = pydicom.dcmread(tmp_path / "out" / "IM-0003.dcm").SourceImageSequence[0]
    assert item.ReferencedFrameNumber == 3


def test_files_of_a_series_are_ordered_by_their_number(phantoms, tmp_path):
    values = stored(8, 3, 5, 7)
    for name, number in (("c", 1), ("a", 2), ("b", 3)):
        phantoms.write_planar(tmp_path / f"{name}.dcm", values[number - 1], "US", number=number)
    assert np.array_equal(read(tmp_path).data, values)


def region(delta: float, units: int) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.PhysicalUnitsXDirection, item.PhysicalUnitsYDirection = 1, units, units
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta, delta / 2
    return item


@pytest.mark.parametrize(
    ("elements", "spacing"),
    [
        ({}, (1, 1)),
        ({"PixelSpacing": [0.2, 0.3]}, (0.2, 0.3)),
        ({"ImagerPixelSpacing": [0.14, 0.14]}, (0.14, 0.14)),
        ({"SequenceOfUltrasoundRegions": [region(0.04, 3)]}, (0.2, 0.4)),  # cm
        ({"SequenceOfUltrasoundRegions": [region(0.04, 4)]}, (1, 1)),  # seconds: M-mode
        ({"SequenceOfUltrasoundRegions": [region(0.04, 3), region(0.1, 3)]}, (1, 1)),
    ],
)
def test_the_size_of_a_pixel_is_that_of_the_header_and_is_kept(phantoms, tmp_path, elements, spacing):
    def change(ds, k):
        for keyword, value in elements.items():
            setattr(ds, keyword, value)

    volume = read(phantoms.write_planar(tmp_path / "a.dcm", stored(8, 4, 6), "US", change=change))
    assert volume.spacing[1:] == pytest.approx(spacing)
    write(volume, tmp_path / "out")
    assert read(tmp_path / "out").spacing == pytest.approx(volume.spacing)


def test_frames_with_a_place_are_read_with_it(phantoms, tmp_path):
    def change(ds, k):
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [1, 2, 3], [1, 0, 0, 0, 0, 1]
        ds.PixelSpacing, ds.SliceThickness = [0.01, 0.02], 0.05

    volume = read(phantoms.write_planar(tmp_path / "a.dcm", stored(8, 4, 6), "OPT", change=change))
    assert volume.spacing == pytest.approx((0.05, 0.01, 0.02))
    np.testing.assert_allclose(volume.affine[:3, 3], [-1, -2, 3])


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        (
            {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3},
            r"is a colour picture \(RGB\).*; export it as PNG or TIFF",
        ),
        ({"Modality": "SM"}, r"whole-slide image \(SM\), which cannot be read; export its tiles as PNG or TIFF"),
    ],
)
def test_colour_and_slides_are_refused(phantoms, tmp_path, elements, message):
    def change(ds, k):
        for keyword, value in elements.items():
            setattr(ds, keyword, value)

    phantoms.write_planar(tmp_path / "a.dcm", stored(8, 4, 6), "US", change=change)
    for path in (tmp_path / "a.dcm", tmp_path):
        with pytest.raises(MedleyError, match=message):
            open_scan(find_scans(path)[0])


def test_names_burned_into_the_picture_are_not_copied(phantoms, tmp_path):
    def change(ds, k):
        ds.BurnedInAnnotation = "YES"

    volume = read(phantoms.write_planar(tmp_path / "a.dcm", stored(8, 4, 6), "US", change=change))
    with pytest.raises(MedleyError, match="BurnedInAnnotation is YES"):
        write(volume, tmp_path / "out")
