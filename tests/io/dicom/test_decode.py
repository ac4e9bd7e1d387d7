"""Compressed and deflated files: headers inside of frames, crashing decoders, limits."""

import zlib

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from medley.errors import MedleyError
from medley.io.dicom.codestream import check_codestream
from medley.io.files import open_scan, read
from medley.runtime import limits

DEFLATED = "1.2.840.10008.1.2.1.99"
SHAPE = (2, 24, 20)
SYNTAXES = [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless]


def compressed(phantoms, folder, syntax):
    """The files of a series in a transfer syntax."""
    gdcm = pytest.importorskip("gdcm")
    files = phantoms.write_mr_series(folder, SHAPE)
    for file in files:
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(file))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(file))
        assert writer.Write()
    return files


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda one: one.name.split(",")[0])
@pytest.mark.parametrize(("rows", "columns"), [(255, 20), (12, 20), (24, 40), (20, 24)])
def test_a_frame_of_another_size_than_the_header_says_is_refused(tmp_path, phantoms, syntax, rows, columns):
    files = compressed(phantoms, tmp_path / "mr", syntax)
    if syntax == RLELossless and rows * columns == 24 * 20:
        pytest.skip("RLE frames have a length and no size")
    for file in files:
        ds = dcmread(file)
        ds.Rows, ds.Columns = rows, columns
        ds.save_as(file)
    volume = open_scan(tmp_path / "mr")
    with pytest.raises(MedleyError, match=r"00[12]\.dcm"):
        volume.load()


@pytest.mark.parametrize("syntax", SYNTAXES[:3], ids=lambda one: one.name.split(",")[0])
def test_the_header_of_a_frame_is_compared_before_decoding(phantoms, tmp_path, syntax):
    file = compressed(phantoms, tmp_path / "mr", syntax)[0]
    from pydicom.encaps import generate_frames

    (frame,) = generate_frames(dcmread(file).PixelData, number_of_frames=1)
    check_codestream(frame, str(syntax), (24, 20), 16, 16, file)
    for size, allocated, word in (((25, 20), 16, "24 x 20"), ((24, 21), 16, "24 x 20"), ((24, 20), 8, "16 bits")):
        with pytest.raises(MedleyError, match=word):
            check_codestream(frame, str(syntax), size, 8, allocated, file)
    for damaged in (b"", frame[:3], bytes(len(frame))):
        with pytest.raises(MedleyError, match="damaged"):
            check_codestream(damaged, str(syntax), (24, 20), 16, 16, file)


def deflate(file, change=lambda data: data, level=9):
    """Write a file again as deflated; `change` gets the deflated bytes."""
    ds = dcmread(file)
    ds.file_meta.TransferSyntaxUID = DEFLATED
    ds.save_as(file)
    raw = file.read_bytes()
    start = 144 + int.from_bytes(raw[140:144], "little")
    file.write_bytes(raw[:start] + change(raw[start:]))


@pytest.mark.parametrize("keep", [0.3, 0.8, 0.99])
def test_a_deflated_file_that_is_cut_short(tmp_path, phantoms, keep):
    for file in phantoms.write_mr_series(tmp_path / "mr", SHAPE):
        deflate(file, lambda data: data[: int(keep * len(data))])
    with pytest.raises(MedleyError, match="cut short"):
        open_scan(tmp_path / "mr" / "001.dcm")


@pytest.mark.parametrize("extra", [b"\1", b"\0\0\0", b"more"])
def test_a_deflated_file_with_something_after_its_end(tmp_path, phantoms, extra):
    for file in phantoms.write_mr_series(tmp_path / "mr", SHAPE):
        deflate(file, lambda data: data.rstrip(b"\0") + extra)
    with pytest.raises(MedleyError, match="deflated content is damaged"):
        open_scan(tmp_path / "mr" / "001.dcm")


def test_a_deflated_file_inflates_within_limits(tmp_path, phantoms, monkeypatch):
    monkeypatch.setattr(limits, "SMALL", 2**20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(bytes(2**26)) + packer.flush()
    for file in phantoms.write_mr_series(tmp_path / "mr", SHAPE):
        deflate(file, lambda _: bomb)
    with pytest.raises(MedleyError, match="would unpack from"):
        open_scan(tmp_path / "mr" / "001.dcm")


def test_deflated_pixels_of_another_length_than_the_header_says(tmp_path, phantoms):
    for file in phantoms.write_mr_series(tmp_path / "mr", SHAPE):
        ds = dcmread(file)
        ds.Columns = 16
        ds.save_as(file)
        deflate(file)
    with pytest.raises(MedleyError, match="its pixel data has"):
        open_scan(tmp_path / "mr")


def test_a_big_value_names_its_slice(tmp_path, phantoms):
    def change(ds, k):
        ds.RescaleSlope, ds.RescaleIntercept = 1e9, 0

    phantoms.write_mr_series(tmp_path / "mr", SHAPE, change=change)
    assert np.isfinite(read(tmp_path / "mr").data).all()

    def bigger(ds, k):
        ds.RescaleSlope, ds.RescaleIntercept = 1e12, 0

    phantoms.write_mr_series(tmp_path / "big", SHAPE, change=bigger)
    with pytest.raises(MedleyError, match=r"001\.dcm|002\.dcm"):
        open_scan(tmp_path / "big").load()
