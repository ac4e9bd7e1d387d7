"""Damaged NIfTI files: impossible headers, sizes that do not fit, compressed data with flipped bits, limits."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from medley.errors import MedleyError
from medley.io.files import open_scan, read, write
from medley.runtime import limits

AFFINE = np.array([[-0.7, 0, 0, 30], [0, -0.8, 0, 20], [0, 0, 2.5, -40], [0, 0, 0, 1.0]])  # (i, j, k, 1) -> RAS
TURN = [2, 1, 0, 3]


def refused(path, *words):
    with pytest.raises(MedleyError) as caught:
        open_scan(path)
    for word in (path.name, *words):
        assert word in str(caught.value)


def pack(header=None, data=None, version=nib.Nifti1Image, **changes):
    """The bytes of a small int16 file with fields of its header changed."""
    array = np.arange(210, dtype=np.int16).reshape(7, 6, 5) if data is None else data
    raw = bytearray(version(array, AFFINE).to_bytes())
    kind = type(version(array, AFFINE).header)
    parsed = kind(bytes(raw[: kind.sizeof_hdr]), check=False)
    for field, value in changes.items():
        parsed[field] = value
    raw[: kind.sizeof_hdr] = parsed.binaryblock
    return bytes(raw)


VERSIONS = {"1": nib.Nifti1Image, "2": nib.Nifti2Image}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("order", ["little", "big"])
def test_both_versions_and_byte_orders_are_read(tmp_path, suffix, version, order):
    image = VERSIONS[version](np.arange(210, dtype=np.int16).reshape(7, 6, 5), AFFINE)
    image.header["descrip"] = b"medley CT HU"
    header = image.header.as_byteswapped("<" if order == "little" else ">")
    array = np.arange(210, dtype=np.int16).reshape(7, 6, 5).astype(header.get_data_dtype())
    nib.save(VERSIONS[version](array, AFFINE, header), tmp_path / f"a{suffix}")
    volume = read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume.data, array.transpose(2, 1, 0))
    assert (volume.modality, volume.unit) == ("CT", "HU")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *(({"vox_offset": value}, "vox_offset is") for value in (0, 351, -1, 100, 10**9 * 4)),
        ({"vox_offset": 1000}, "announces"),
        *(
            ({"pixdim": [1, value, 1, 1, 0, 0, 0, 0], "sform_code": 0, "qform_code": 2}, "mm")
            for value in (1e34, 1e-30, 0)
        ),
        *(({"srow_x": [value, 0, 0, 0]}, "mm") for value in (1e34, np.inf, np.nan, 1e-10, 0)),
        *(({"srow_y": [0, 1, 0, value]}, "first voxel is at") for value in (1e30, np.inf, np.nan)),
        *(
            ({"scl_slope": slope, "scl_inter": inter}, "scl_slope")
            for slope, inter in ((np.inf, 0), (1, np.nan), (1, np.inf))
        ),
        ({"scl_slope": 1e38}, "holds"),
        *(({"dim": [axes, 7, 6, 5, 1, 1, 1, 1]}, "axes") for axes in (0, 8, -1, 300, 1)),
        *(({"dim": [3, 7, 6, n, 1, 1, 1, 1]}, "announces") for n in (4, 6, 32767)),
        *(({"dim": [3, n, 6, 5, 1, 1, 1, 1]}, "7, 6, 5" if n > 0 else "shape") for n in (0, -1)),
        ({"dim": [5, 7, 6, 5, 1, 2, 1, 1]}, "split it"),
        *(({"datatype": code, "bitpix": 16}, "") for code in (0, 1, 2, 8, 128, 1792, 4095)),
        ({"bitpix": 8}, "bitpix"),
        ({"xyzt_units": 7}, "xyzt_units"),
        ({"magic": b"ni1"}, "magic"),
        ({"sform_code": 77}, "sform_code"),
        *(({"quatern_b": b, "sform_code": 0, "qform_code": 1}, "qform is not a rotation") for b in (2.0, np.inf)),
    ],
)
def test_impossible_headers_are_refused(tmp_path, version, changes, words):
    raw = pack(version=VERSIONS[version], **changes)
    (tmp_path / "a.nii").write_bytes(raw)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(raw))
    words = words.replace("7, 6, 5", "(")
    refused(tmp_path / "a.nii", words)
    refused(tmp_path / "a.nii.gz", words if words != "announces" else "")


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 352.5, 1e30])
def test_offsets_of_version_1_that_are_no_byte_are_refused(tmp_path, value):
    (tmp_path / "a.nii").write_bytes(pack(vox_offset=value))
    refused(tmp_path / "a.nii", "vox_offset is")


@pytest.mark.parametrize("changes", [{"quatern_b": 2.0}, {"quatern_c": np.nan}, {"pixdim": [3, 1, 1, 1, 0, 0, 0, 0]}])
def test_a_broken_qform_does_not_matter_where_the_sform_is_used(tmp_path, changes):
    (tmp_path / "a.nii").write_bytes(pack(sform_code=1, qform_code=1, **changes))
    volume = read(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.affine[:, TURN], AFFINE, atol=1e-6)
    write(volume, tmp_path / "b.nii")
    np.testing.assert_allclose(read(tmp_path / "b.nii").affine, volume.affine, atol=1e-6)


@pytest.mark.parametrize("slope", [0, np.nan])
def test_a_slope_of_zero_or_nan_means_that_values_are_not_scaled(tmp_path, slope):
    (tmp_path / "a.nii").write_bytes(pack(scl_slope=slope, scl_inter=5))
    assert read(tmp_path / "a.nii").data.max() == 209


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_types_of_64_bits_are_read_and_written_as_float32(tmp_path, dtype):
    array = np.arange(210).reshape(7, 6, 5).astype(dtype)
    nib.save(nib.Nifti1Image(array, AFFINE, dtype=dtype), tmp_path / "a.nii")
    write(read(tmp_path / "a.nii"), tmp_path / "b.nii")
    assert nib.load(tmp_path / "b.nii").get_data_dtype() == np.float32
    np.testing.assert_array_equal(read(tmp_path / "b.nii").data, array.transpose(2, 1, 0))


def test_files_whose_name_says_the_wrong_thing_about_compression(tmp_path):
    (tmp_path / "a.nii").write_bytes(gzip.compress(pack()))
    refused(tmp_path / "a.nii", "is compressed with gzip; rename it to a.nii.gz")
    (tmp_path / "b.nii.gz").write_bytes(pack())
    refused(tmp_path / "b.nii.gz", "is not compressed with gzip; rename it to b.nii")


def test_every_flipped_bit_of_compressed_data_is_noticed(tmp_path):
    array = np.random.default_rng(0).integers(0, 50, (7, 6, 50)).astype(np.int16)
    raw = gzip.compress(pack(data=array), mtime=0)
    for bit in np.random.default_rng(1).integers(8 * 10, 8 * len(raw), 150):  # after the ten bytes of gzip's header
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / "a.nii.gz").write_bytes(changed)
        refused(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("tail", [b"garbage", b"\x1f\x8bgarbage", gzip.compress(b"another file" * 10)])
def test_bytes_after_compressed_data_are_noticed(tmp_path, tail):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(pack()) + tail)
    refused(tmp_path / "a.nii.gz")


def test_compressed_data_of_several_pieces_and_padding_are_read(tmp_path):
    raw = pack()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(raw[:400]) + gzip.compress(raw[400:]) + bytes(512))
    assert read(tmp_path / "a.nii.gz").data.max() == 209


def test_limits_are_checked_before_anything_is_unpacked(tmp_path, monkeypatch):
    huge = pack(dim=[3, 30000, 30000, 1, 1, 1, 1, 1])
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(huge))
    refused(tmp_path / "a.nii.gz", "would unpack from", "1.8 GB", "MEDLEY_MAX_UNPACKED")
    monkeypatch.setenv("MEDLEY_MAX_UNPACKED", "4GB")
    refused(tmp_path / "a.nii.gz", "is cut short")
    monkeypatch.setattr(limits, "free_memory", lambda: 2**21)
    array = np.zeros((1000, 1000, 1), np.int16)
    (tmp_path / "b.nii").write_bytes(pack(data=array))
    refused(tmp_path / "b.nii", "one slice needs 8 MB of memory")


def test_a_compressed_file_is_opened_once_per_scan(tmp_path, monkeypatch):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(pack()))
    opened = []
    real = type(path).open
    monkeypatch.setattr(type(path), "open", lambda self, *args, **kw: opened.append(self) or real(self, *args, **kw))
    volume = open_scan(path)
    for _ in range(2):
        np.testing.assert_array_equal(volume.load().data.max(), 209)
    assert [one for one in opened if one.parent == tmp_path] == [path]


def test_two_iterations_of_one_file_at_the_same_time(tmp_path):
    for name, raw in (("a.nii", pack()), ("a.nii.gz", gzip.compress(pack()))):
        (tmp_path / name).write_bytes(raw)
        volume = open_scan(tmp_path / name)
        for one, other in zip(volume.data, volume.data, strict=True):
            np.testing.assert_array_equal(one, other)
