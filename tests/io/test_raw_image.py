"""Damaged MetaImage and NRRD files: headers that do not fit the data, flipped bits, foreign paths, bombs."""

import bz2
import gzip
import zlib

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.io.files import open_scan, read
from medley.io.sitk import read_grid

VALUES = np.arange(60, dtype="<i2").reshape(3, 4, 5)
RAW = VALUES.tobytes()
MHA = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0", "ElementSpacing": "0.7 0.8 2.5", "DimSize": "5 4 3",
    "ElementType": "MET_SHORT",
}  # fmt: skip
NRRD = {
    "type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "5 4 3",
    "space directions": "(0.7,0,0) (0,0.8,0) (0,0,2.5)", "endian": "little", "encoding": "raw",
    "space origin": "(0,0,0)",
}  # fmt: skip


def mha(path, data=RAW, where="LOCAL", **changes):
    fields = {key: value for key, value in {**MHA, **changes}.items() if value is not None}
    text = "".join(f"{key} = {value}\n" for key, value in {**fields, "ElementDataFile": where}.items())
    path.write_bytes(text.encode() + data)
    return path


def nrrd(path, data=RAW, **changes):
    fields = {key: value for key, value in {**NRRD, **changes}.items() if value is not None}
    text = "NRRD0004\n" + "".join(f"{key}: {value}\n" for key, value in fields.items())
    path.write_bytes(text.encode() + b"\n" + data)
    return path


def refused(path, *words):
    with pytest.raises(MedleyError) as caught:
        open_scan(path)
    for word in (path.name, *words):
        assert word in str(caught.value)


def test_the_files_of_these_tests_are_sound(tmp_path):
    for path in (mha(tmp_path / "a.mha"), nrrd(tmp_path / "a.nrrd")):
        volume = read(path)
        np.testing.assert_array_equal(volume.data, VALUES)
        assert volume.spacing == pytest.approx((2.5, 0.8, 0.7))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *(({"NDims": n}, "") for n in ("-1", "0", "2", "4", "1e9", "x", None)),
        *(({"DimSize": n}, "DimSize") for n in ("5 4", "5 4 0", "5 4 -3", "5 4 1e300", "5 4 3.5", "x", "")),
        *(({"DimSize": n}, "announces") for n in ("5 4 4", "5 4 2", "5000 4000 3000", "2000000000 " * 3)),
        *(({"ElementSpacing": n}, "mm") for n in ("0 1 1", "1e34 1 1", "1 1e-30 1")),
        *(({"ElementSpacing": n}, "ElementSpacing") for n in ("nan 1 1", "1 1", None)),
        *(({"TransformMatrix": f"{n} 0 0 0 1 0 0 0 1"}, "mm") for n in ("1e308", "0", "1e-300")),
        ({"TransformMatrix": "inf 0 0 0 1 0 0 0 1"}, "TransformMatrix"),
        ({"TransformMatrix": "1 1 0 0 1 0 0 0 1"}, "right angles"),
        ({"Offset": "1e300 0 0"}, "first voxel is at"),
        ({"ElementType": "MET_DOUBLE"}, "announces"),
        ({"ElementType": "MET_UCHAR"}, "announces"),
        ({"ElementType": "MET_NONSENSE"}, "ElementType"),
        ({"ElementNumberOfChannels": "3"}, "3 values for each voxel"),
        ({"BinaryData": "False"}, "as text"),
        ({"CompressedData": "True"}, "cannot be read as MetaImage"),
        ({"ObjectType": "Tube"}, "Tube"),
        ({"DistanceUnits": "cm"}, "expected mm"),
    ],
)
def test_impossible_metaimage_headers(tmp_path, changes, words):
    refused(mha(tmp_path / "a.mha", **changes), words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *(({"dimension": n}, "") for n in ("-1", "0", "2", "4", "x", None)),
        *(({"sizes": n}, "sizes") for n in ("5 4", "5 4 0", "5 4 -3", "5 4 1e300")),
        *(({"sizes": n}, "announces") for n in ("5 4 4", "5 4 2", "50000 40000 3000")),
        *(({"space directions": f"({n},0,0) (0,1,0) (0,0,1)"}, "mm") for n in ("1e308", "0", "1e-300")),
        ({"space directions": "none (0,1,0) (0,0,1)"}, "space directions"),
        ({"space origin": "(1e300,0,0)"}, "first voxel is at"),
        ({"space": "scanner-xyz"}, "its space is"),
        ({"space": None}, "unknown space"),
        ({"space units": '"cm" "cm" "cm"'}, "space units"),
        ({"type": "double"}, "announces"),
        ({"type": "block"}, "its type is"),
        ({"endian": None}, "endian"),
        ({"encoding": "gzip"}, "cannot be read as NRRD"),
        ({"encoding": "ascii"}, "its encoding is"),
        ({"byte skip": "-1"}, "byte skip"),
    ],
)
def test_impossible_nrrd_headers(tmp_path, changes, words):
    refused(nrrd(tmp_path / "a.nrrd", **changes), words)


@pytest.mark.parametrize("space", ["RAS", "right-anterior-superior", "LAS", "LPS"])
def test_spaces_of_nrrd_give_the_same_place(tmp_path, space):
    signs = {"R": -1, "L": 1, "A": -1, "P": 1}
    x, y = (signs[one] for one in ("RAS" if space[0] == "r" else space)[:2])
    path = nrrd(
        tmp_path / "a.nrrd",
        space=space,
        **{"space directions": f"({0.7 * x},0,0) (0,{0.8 * y},0) (0,0,2.5)", "space origin": f"({3 * x},{4 * y},5)"},
    )  # fmt: skip
    np.testing.assert_allclose(read(path).affine @ [2, 1, 1, 1], [-3 - 0.7, -4 - 0.8, 10, 1])


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.99])
@pytest.mark.parametrize("make", [mha, nrrd])
def test_files_that_are_cut_short(tmp_path, make, keep):
    path = make(tmp_path / f"a.{make.__name__}")
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    refused(path)


COMPRESSED = {
    "zlib": lambda path, data: mha(path.with_suffix(".mha"), zlib.compress(data), CompressedData="True"),
    "gzip": lambda path, data: nrrd(path.with_suffix(".nrrd"), gzip.compress(data, mtime=0), encoding="gzip"),
    "bzip2": lambda path, data: nrrd(path.with_suffix(".nrrd"), bz2.compress(data), encoding="bzip2"),
}


@pytest.mark.parametrize("kind", COMPRESSED)
def test_compressed_values_that_are_shorter_longer_or_followed_by_others(tmp_path, kind):
    make = COMPRESSED[kind]
    np.testing.assert_array_equal(read(make(tmp_path / "a", RAW)).data, VALUES)
    refused(make(tmp_path / "a", RAW[:-2]), "")
    refused(make(tmp_path / "a", RAW + b"12"), "there are more")
    path = make(tmp_path / "a", RAW)
    path.write_bytes(path.read_bytes()[:-3])
    refused(path)


@pytest.mark.parametrize("kind", COMPRESSED)
def test_every_flipped_bit_of_compressed_values_is_noticed(tmp_path, kind):
    data = np.random.default_rng(0).integers(0, 50, 60).astype("<i2").tobytes()
    path = COMPRESSED[kind](tmp_path / "a", data)
    raw = path.read_bytes()
    noticed = 0
    begin = raw.index(b"LOCAL\n" if kind == "zlib" else b"\n\n") + 6
    for bit in range(8 * begin, 8 * len(raw), 3):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            values = read(path).data
        except MedleyError:
            noticed += 1
        else:  # a bit without meaning, such as the time in the header of gzip
            np.testing.assert_array_equal(values.ravel(), np.frombuffer(data, "<i2"))
    assert noticed > 100


def test_a_header_of_a_few_bytes_cannot_claim_gigabytes(tmp_path):
    packed = zlib.compress(bytes(1000))
    huge = mha(tmp_path / "a.mha", packed, CompressedData="True", DimSize="2000 2000 1100")
    refused(huge, "would unpack from", "8.8 GB")
    refused(nrrd(tmp_path / "a.nrrd", gzip.compress(bytes(1000)), encoding="gzip", sizes="2000 2000 1100"), "8.8 GB")


def test_a_header_without_an_end(tmp_path):
    (tmp_path / "a.mha").write_bytes(b"NDims = 3\n" * 200_000)
    refused(tmp_path / "a.mha", "header without an end")
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n" + b"x" * 2**21)
    refused(tmp_path / "a.nrrd", "header without an end")


@pytest.mark.parametrize("name", ["../secret.raw", "/etc/passwd", "folder/a.raw", "..", "C:\\a.raw", "a.raw b.raw"])
@pytest.mark.parametrize("kind", ["mhd", "nhdr"])
def test_data_outside_of_the_folder_is_refused(tmp_path, name, kind):
    (tmp_path / "secret.raw").write_bytes(RAW)
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / f"a.{kind}"
    path = mha(path, b"", name) if kind == "mhd" else nrrd(path, b"", **{"data file": name})
    refused(path, "data file")


@pytest.mark.parametrize("kind", ["mhd", "nhdr"])
def test_data_beside_the_header_is_read_and_a_link_to_another_folder_is_not(tmp_path, kind):
    (tmp_path / "secret.raw").write_bytes(RAW)
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / f"a.{kind}"
    path = mha(path, b"", "a.raw") if kind == "mhd" else nrrd(path, b"", **{"data file": "a.raw"})
    refused(path, "is missing")
    path.with_suffix(".raw").write_bytes(RAW)
    assert read_grid(path)[0] == (3, 4, 5)
    np.testing.assert_array_equal(read(path).data, VALUES)
    path.with_suffix(".raw").unlink()
    path.with_suffix(".raw").symlink_to(tmp_path / "secret.raw")
    refused(path, "link to another folder")
