"""Header counts against the data, functional groups, rescale, and values that no scan has."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medley.errors import MedleyError
from medley.io.files import open_scan, read

SHAPE = (4, 12, 16)


def enhanced(tmp_path, phantoms, change):
    stored = phantoms.values(SHAPE, 0, 900)
    return phantoms.write_enhanced(tmp_path / "e.dcm", stored, "MR", change=change)


def item(**values):
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize("count", [0, 1, 3])
def test_fewer_functional_groups_than_frames(tmp_path, phantoms, count):
    def change(ds):
        ds.PerFrameFunctionalGroupsSequence = Sequence(list(ds.PerFrameFunctionalGroupsSequence)[:count])

    with pytest.raises(MedleyError, match=f"NumberOfFrames is 4, but PerFrameFunctionalGroupsSequence has {count} "):
        open_scan(enhanced(tmp_path, phantoms, change))


@pytest.mark.parametrize("frames", [3, 5, None])
def test_another_number_of_frames_than_functional_groups(tmp_path, phantoms, frames):
    def change(ds):
        ds.NumberOfFrames = frames
        if frames is None:
            del ds.NumberOfFrames

    with pytest.raises(MedleyError, match=f"NumberOfFrames is {frames or 1}, but .* has 4 items"):
        open_scan(enhanced(tmp_path, phantoms, change))


def test_no_shared_functional_groups_is_a_missing_element(tmp_path, phantoms):
    def change(ds):
        ds.SharedFunctionalGroupsSequence = []

    with pytest.raises(MedleyError, match=r"e\.dcm: PixelSpacing is missing"):
        open_scan(enhanced(tmp_path, phantoms, change))


def test_private_groups_do_not_replace_public_ones(tmp_path, phantoms):
    expected = read(enhanced(tmp_path, phantoms, None))

    def change(ds):
        for groups in ds.PerFrameFunctionalGroupsSequence:
            position = [float(x) for x in groups.PlanePositionSequence[0].ImagePositionPatient]
            repeated = item(
                ImagePositionPatient=[position[0] + 2, *position[1:]], RescaleSlope=4.0, RescaleIntercept=7.0
            )
            block = groups.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
            block.add_new(0x0F, "SQ", Sequence([repeated]))

    volume = read(enhanced(tmp_path, phantoms, change))
    np.testing.assert_array_equal(volume.data, expected.data)
    np.testing.assert_array_equal(volume.affine, expected.affine)


def test_elements_count_only_in_their_own_functional_group(tmp_path, phantoms):
    expected = read(enhanced(tmp_path, phantoms, None))

    def change(ds):
        for groups in ds.PerFrameFunctionalGroupsSequence:
            groups.RealWorldValueMappingSequence = [item(RescaleSlope=4.0, PixelSpacing=[9.0, 9.0])]

    volume = read(enhanced(tmp_path, phantoms, change))
    np.testing.assert_array_equal(volume.data, expected.data)
    np.testing.assert_array_equal(volume.affine, expected.affine)


@pytest.mark.parametrize(("tags", "line"), [({"RescaleIntercept": -7}, (1, -7)), ({"RescaleSlope": 2}, (2, 0))])
def test_in_mr_slope_or_intercept_alone_counts(tmp_path, phantoms, tags, line):
    def change(ds, k):
        for keyword, value in tags.items():
            setattr(ds, keyword, value)

    phantoms.write_mr_series(tmp_path / "mr", SHAPE, change=change)
    expected = phantoms.values(SHAPE, 0, 900) * line[0] + line[1]
    np.testing.assert_array_equal(read(tmp_path / "mr").data, expected)


@pytest.mark.parametrize("kind", ["hu", "Hu", "HU "])
def test_case_of_the_rescale_type_does_not_matter(tmp_path, phantoms, kind):
    files = phantoms.write_ct_series(tmp_path / "ct", change=lambda ds, k: setattr(ds, "RescaleType", "XX"))
    for file in files:
        raw = file.read_bytes()
        assert raw.count(b"XX") == 1
        at, text = raw.index(b"XX"), kind.ljust(len(kind) + len(kind) % 2).encode()
        file.write_bytes(raw[: at - 2] + bytes([len(text), 0]) + text + raw[at + 2 :])
    assert open_scan(tmp_path / "ct").unit == "HU"


def test_a_missing_number_of_samples_is_one(tmp_path, phantoms):
    phantoms.write_ct_series(tmp_path / "ct", SHAPE, change=lambda ds, k: delattr(ds, "SamplesPerPixel"))
    np.testing.assert_array_equal(read(tmp_path / "ct").data, phantoms.values(SHAPE, -1024, 1500))


@pytest.mark.parametrize(
    ("rows", "columns", "word"),
    [
        (12, 15, "has 384 bytes"),
        (11, 16, "has 384 bytes"),
        (12, 17, "is cut short"),
        (13, 16, "is cut short"),
        (1, 1, "has 384 bytes"),
    ],
)
def test_rows_and_columns_must_fit_the_length_of_the_pixel_data(tmp_path, phantoms, rows, columns, word):
    def change(ds, k):
        ds.Rows, ds.Columns = rows, columns

    phantoms.write_ct_series(tmp_path / "ct", SHAPE, change=change)
    with pytest.raises(MedleyError, match=rf"001\.dcm: its pixel data {word}"):
        open_scan(tmp_path / "ct")


def test_the_pad_byte_of_an_odd_length_is_accepted(tmp_path, phantoms):
    def bytes_only(ds, k):
        ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 5, 5, 8, 8, 7
        ds.PixelRepresentation = 0
        ds.PixelData = bytes(range(25)) + b"\0"

    phantoms.write_series(tmp_path / "mr", phantoms.values((2, 5, 5), 0, 9), "MR", change=bytes_only)
    np.testing.assert_array_equal(read(tmp_path / "mr").data[0].ravel(), np.arange(25))


ABSURD = ["nan", "inf", "-inf", "1e300"]


@pytest.mark.parametrize(
    ("keyword", "number"),
    [
        *((keyword, number) for keyword in ("SliceThickness", "PixelSpacing") for number in (*ABSURD, "1e-30", "-2.5")),
        *(("RescaleSlope", number) for number in (*ABSURD, "1e-30", "0")),
        *((keyword, number) for keyword in ("RescaleIntercept", "ImagePositionPatient") for number in ABSURD),
    ],
)
def test_values_that_no_scan_has(tmp_path, phantoms, keyword, number):
    mark = 7.03125

    def change(ds, k):
        values = {"PixelSpacing": [mark, 0.5], "ImagePositionPatient": [mark, 0, 2.5 * k]}
        setattr(ds, keyword, values.get(keyword, mark))

    for file in phantoms.write_ct_series(tmp_path / "ct", SHAPE, change=change):
        raw = file.read_bytes()
        assert raw.count(b"7.03125") == 1
        file.write_bytes(raw.replace(b"7.03125", number.encode().ljust(7)))
    with pytest.raises(MedleyError, match=r"expected|cannot be read as DICOM|would be the same"):
        open_scan(tmp_path / "ct")
