"""Files that are not one stack of grey slices are refused with one sentence, before any pixel is decoded."""

import re
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from medley.errors import MedleyError
from medley.io.dicom import read as dicom_read
from medley.io.files import Scan, find_scans, open_scan


@pytest.fixture(autouse=True)
def no_decoding(monkeypatch):
    """Every refusal here comes from headers."""

    def decode(*_):
        raise AssertionError("a pixel was decoded")

    monkeypatch.setattr(dicom_read, "stored_frames", decode)


def refused(path, *words):
    with pytest.raises(MedleyError) as caught:
        open_scan(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert re.search(word, message), f"{word!r} is not in {message!r}"


def set_tags(**tags):
    def change(ds, k):
        for keyword, value in tags.items():
            setattr(ds, keyword, value)

    return change


def only(index, **tags):
    def change(ds, k):
        if k == index:
            set_tags(**tags)(ds, k)

    return change


def test_a_missing_slice_says_between_which_positions(tmp_path, phantoms):
    files = phantoms.write_ct_series(tmp_path / "ct")
    files[2].unlink()
    refused(
        tmp_path / "ct", r"ct: slices are missing between 44\.50 and 49\.50 mm", r"004\.dcm and 002\.dcm", r"2\.50 mm"
    )


def test_a_doubled_slice_names_both_files(tmp_path, phantoms):
    files = phantoms.write_ct_series(tmp_path / "ct")
    ds = dcmread(files[1])
    ds.SOPInstanceUID = "1.2.3"
    ds.save_as(tmp_path / "ct" / "again.dcm")
    refused(tmp_path / "ct", r"two slices at the same place, 44\.50 mm", r"again\.dcm", r"004\.dcm")


def test_uneven_distances(tmp_path, phantoms):
    def place(ds, k):
        ds.ImagePositionPatient = [0, 0, [0, 2.5, 5, 8, 10.5][k]]

    phantoms.write_ct_series(tmp_path / "ct", change=place)
    refused(tmp_path / "ct", r"unevenly spaced \(2\.50 to 3\.00 mm\)")


def test_distances_that_drift_away_from_any_even_stack(tmp_path, phantoms):
    heights = np.cumsum([1.0] * 20 + [1.09] * 20)

    def place(ds, k):
        ds.ImagePositionPatient = [0, 0, round(float(heights[k]), 4)]

    phantoms.write_ct_series(tmp_path / "ct", (40, 4, 4), change=place)
    refused(tmp_path / "ct", "unevenly spaced")


def test_mixed_series_are_listed_and_one_can_be_picked(tmp_path, phantoms):
    phantoms.write_ct_series(tmp_path / "scans", (3, 12, 16))
    for file in phantoms.write_mr_series(tmp_path / "mr", (2, 12, 16), seed=1):
        file.rename(tmp_path / "scans" / f"mr-{file.name}")
    refused(tmp_path / "scans", "holds 2 scans", "CT-phantom", "MR-phantom", "one")
    first, second = find_scans(tmp_path / "scans")
    assert open_scan(first).modality == "CT"
    assert open_scan(second).shape == (2, 12, 16)
    refused(Scan(tmp_path / "scans"), "holds 2 series", first.series_uid, second.series_uid, "series_uid")
    refused(Scan(tmp_path / "scans", "1.2.3"), r"no DICOM series 1\.2\.3")


def test_gantry_tilt_by_its_tag(tmp_path, phantoms):
    phantoms.write_ct_series(tmp_path / "ct", change=set_tags(GantryDetectorTilt=-12.5))
    refused(tmp_path / "ct", r"gantry tilt \(GantryDetectorTilt -12\.5 degrees\)")


def test_gantry_tilt_by_its_geometry(tmp_path, phantoms):
    def tilt(ds, k):
        ds.ImageOrientationPatient = [1, 0, 0, 0, float(np.cos(0.2)), float(np.sin(0.2))]
        ds.ImagePositionPatient = [0, 0, 2.5 * k]

    phantoms.write_ct_series(tmp_path / "ct", change=tilt)
    refused(tmp_path / "ct", "stack is sheared", "gantry tilt")


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "ImageOrientationPatient"),
        ({"PixelSpacing": [0.8, 0.75]}, "PixelSpacing"),
        ({"Rows": 8, "Columns": 24}, "Rows x Columns"),
    ],
)
def test_slices_that_do_not_fit_together(tmp_path, phantoms, tags, word):
    phantoms.write_ct_series(tmp_path / "ct", change=only(3, **tags))
    refused(tmp_path / "ct", "do not fit together", word, r"002\.dcm")


def test_directions_that_are_not_at_a_right_angle(tmp_path, phantoms):
    phantoms.write_ct_series(tmp_path / "ct", change=set_tags(ImageOrientationPatient=[1, 0, 0, 0.5, 0.8, 0]))
    refused(tmp_path / "ct", "ImageOrientationPatient", "right angle")


@pytest.mark.parametrize("name", ["SC_rgb_small_odd.dcm", "examples_palette.dcm", "examples_ybr_color.dcm"])
def test_colour(name):
    refused(get_testdata_file(name, download=False), "colour picture")


@pytest.mark.parametrize(
    "keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"]
)
def test_a_missing_tag_is_named(tmp_path, phantoms, keyword):
    def drop(ds, k):
        if k == 1:
            delattr(ds, keyword)

    phantoms.write_ct_series(tmp_path / "ct", change=drop)
    refused(tmp_path / "ct", rf"004\.dcm: {keyword} is missing")


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({"RescaleType": "US"}, "RescaleType is 'US', expected HU"),
        ({"RescaleSlope": 0}, "RescaleSlope is 0"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "BitsAllocated"),
        ({"BitsStored": 12, "HighBit": 15}, "HighBit"),
        ({"NumberOfFrames": 2}, "PerFrameFunctionalGroupsSequence"),
        ({"ModalityLUTSequence": []}, "ModalityLUTSequence"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "Siemens mosaic"),
        ({"PixelSpacing": [0, 0.8]}, "PixelSpacing is"),
        ({"SliceThickness": -1}, "SliceThickness is -1 mm"),
        ({"Rows": 0}, "0 rows"),
    ],
)
def test_values_that_cannot_be_understood(tmp_path, phantoms, tags, word):
    phantoms.write_ct_series(tmp_path / "ct", change=set_tags(**tags))
    refused(tmp_path / "ct", word)


@pytest.mark.parametrize("number", [b"nan", b"1e999", b"1.2.3", b"two"])
def test_a_position_that_is_no_number(tmp_path, phantoms, number):
    files = phantoms.write_ct_series(tmp_path / "ct")
    raw = files[2].read_bytes()
    assert b"-31.0" in raw
    files[2].write_bytes(raw.replace(b"-31.0", number.ljust(5)))
    refused(tmp_path / "ct", r"003\.dcm: (ImagePositionPatient is|cannot be read as DICOM)")


def test_an_element_of_an_impossible_length(tmp_path):
    raw = Path(get_testdata_file("badVR.dcm", download=False)).read_bytes()
    (tmp_path / "badVR.dcm").write_bytes(raw.replace(b"RTDOSE", b"CT    "))
    refused(tmp_path / "badVR.dcm", r"badVR\.dcm: cannot be read as DICOM")


def test_a_single_slice_without_thickness(tmp_path, phantoms):
    def drop(ds, k):
        del ds.SliceThickness

    phantoms.write_ct_series(tmp_path / "ct", (1, 12, 16), change=drop)
    refused(tmp_path / "ct", "SliceThickness")


def test_a_text_file_named_dcm(tmp_path, phantoms):
    (tmp_path / "note.dcm").write_text("This is a note and no scan at all.\n" * 20)
    refused(tmp_path / "note.dcm", r"note\.dcm", "not a DICOM file")
    refused(tmp_path, r"note\.dcm", "not a DICOM file")
    phantoms.write_ct_series(tmp_path)
    refused(tmp_path, r"note\.dcm", "may lack a slice")


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.999])
def test_truncated_pixels(tmp_path, phantoms, keep):
    files = phantoms.write_ct_series(tmp_path / "ct", (3, 64, 64))
    raw = files[1].read_bytes()
    files[1].write_bytes(raw[: int(keep * len(raw))])
    refused(tmp_path / "ct", r"002\.dcm", "cut short")
    refused(files[1], r"002\.dcm", "cut short")


def test_pixel_data_shorter_than_rows_times_columns(tmp_path, phantoms):
    def shorten(ds, k):
        ds.PixelData = ds.PixelData[:-20]

    phantoms.write_ct_series(tmp_path / "ct", change=shorten)
    refused(tmp_path / "ct", "cut short")


def test_no_pixel_data_at_all(tmp_path, phantoms):
    def drop(ds, k):
        del ds.PixelData

    phantoms.write_ct_series(tmp_path / "ct", change=drop)
    refused(tmp_path / "ct", "cut short or missing")


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"])
def test_truncated_compressed_pixels(tmp_path, name):
    raw = Path(get_testdata_file(name, download=False)).read_bytes()
    (tmp_path / name).write_bytes(raw[:-500])
    refused(tmp_path / name, "cut short")


def test_a_header_that_is_cut_off(tmp_path, phantoms):
    files = phantoms.write_ct_series(tmp_path / "ct")
    files[2].write_bytes(files[2].read_bytes()[:700])
    refused(tmp_path / "ct", r"003\.dcm")


def test_objects_that_are_no_scan(tmp_path):
    for name in ("rtstruct.dcm", "rtdose.dcm"):
        refused(get_testdata_file(name, download=False), name)


def test_nothing_there(tmp_path):
    refused(tmp_path / "nowhere", "nowhere: does not exist")
    refused(Scan(tmp_path / "nowhere"), "nowhere: does not exist")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty: holds no scan")
    (tmp_path / "text.txt").write_text("words")
    refused(tmp_path / "text.txt", r"text\.txt: is not a scan")
