"""PNG and TIFF in and out: grey values exactly, colour through its luminance."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medley.errors import MedleyError
from medley.io.files import find_scans, open_scan, read, write
from medley.io.pictures import coloured, luminance
from medley.volume import Volume

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
WORDS = RNG.integers(0, 65536, (20, 30), dtype=np.uint16)


def saved(path: Path, pixels: np.ndarray, **options) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR, WORDS, np.repeat(GREY[..., None], 3, -1)])
def test_what_is_not_changed_is_written_as_it_was(tmp_path, pixels, suffix):
    volume = read(saved(tmp_path / f"a{suffix}", pixels))
    assert (volume.shape, volume.modality, volume.unit) == ((1, 20, 30), "", "grey levels")
    write(volume, tmp_path / f"b{suffix}", derivation="medley made it")
    with Image.open(tmp_path / f"b{suffix}") as image:
        again = np.asarray(image)
    assert again.dtype == pixels.dtype
    assert np.array_equal(again, pixels)
    assert read(tmp_path / f"b{suffix}").source.processed == "medley made it"


def test_grey_values_are_those_of_the_file_also_where_all_colours_are_equal(tmp_path):
    for name, pixels in (("grey.png", GREY), ("equal.png", np.repeat(GREY[..., None], 3, -1))):
        assert np.array_equal(read(saved(tmp_path / name, pixels)).data[0], GREY)


def test_luminance_is_that_of_bt601():
    """Black 16, white 235; pure colours as in the recommendation; grey has no chroma."""
    y, chroma = luminance(np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]))
    np.testing.assert_allclose(y, [16, 235, 81.481, 144.553, 40.966], atol=1e-3)
    np.testing.assert_allclose(chroma[:2], 128, atol=1e-3)
    np.testing.assert_allclose(chroma[2:], [[90.203, 240], [53.797, 34.214], [240, 109.786]], atol=1e-3)


def test_all_colours_survive_the_way_through_luminance():
    levels = np.arange(0, 256, 5)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1)
    assert np.array_equal(coloured(*luminance(colours)), colours)


def test_a_changed_luminance_keeps_the_chroma(tmp_path):
    pixels = RNG.integers(90, 160, (20, 30, 3), dtype=np.uint8)
    volume = read(saved(tmp_path / "a.png", pixels))
    write(volume.with_data(volume.data + 10), tmp_path / "b.png")
    y, chroma = luminance(pixels)
    with Image.open(tmp_path / "b.png") as image:
        new_y, new_chroma = luminance(np.asarray(image))
    np.testing.assert_allclose(new_y, y + 10, atol=0.6)
    np.testing.assert_allclose(new_chroma, chroma, atol=0.6)


def test_values_are_rounded_and_clipped(tmp_path):
    volume = read(saved(tmp_path / "a.png", np.zeros((1, 4), np.uint8)))
    write(volume.with_data(np.array([[[-3, 0.6, 99.4, 300]]], np.float32)), tmp_path / "b.png")
    assert np.array_equal(read(tmp_path / "b.png").data, [[[0, 1, 99, 255]]])


def test_pages_of_a_tiff_are_slices(tmp_path):
    pages = [Image.fromarray(GREY + np.uint8(k)) for k in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    volume = read(tmp_path / "a.tif")
    assert np.array_equal(volume.data[2], GREY + np.uint8(2))
    write(volume, tmp_path / "b.tif")
    assert np.array_equal(read(tmp_path / "b.tif").data, volume.data)
    with pytest.raises(MedleyError, match="3 slices, but a PNG holds one"):
        write(volume, tmp_path / "b.png")
    pages[1] = Image.fromarray(GREY[:5])
    pages[0].save(tmp_path / "c.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(MedleyError, match="pages differ in size"):
        read(tmp_path / "c.tif")


def test_pictures_are_scans_where_there_is_no_other(tmp_path):
    for name in ("b.png", "a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert [scan.name for scan in find_scans(tmp_path)] == ["a", "b"]
    (tmp_path / "scan.nii.gz").touch()
    assert [scan.name for scan in find_scans(tmp_path)] == ["scan"]


def test_what_cannot_be_read_is_refused(tmp_path):
    half = np.dstack([COLOUR, np.full((20, 30), 100, np.uint8)])
    (tmp_path / "text.png").write_text("no picture")
    whole = saved(tmp_path / "whole.png", COLOUR).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    for path, message in (
        (saved(tmp_path / "half.png", half), "partly transparent"),
        (saved(tmp_path / "float.tif", GREY.astype(np.float32)), "of the kind F; expected grey values or RGB"),
        (tmp_path / "text.png", "is not a picture"),
        (tmp_path / "cut.png", "cut.png"),
    ):
        with pytest.raises(MedleyError, match=message):
            open_scan(path)


def test_what_was_not_read_from_a_picture_is_not_written_as_one(tmp_path):
    with pytest.raises(MedleyError, match="only what was read from a picture"):
        write(Volume(np.zeros((1, 4, 4)), np.eye(4), "CT", "HU"), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_the_modality_given_for_a_picture_is_that_of_the_volume(tmp_path):
    volume = open_scan(saved(tmp_path / "a.png", GREY), modality="DX")
    assert (volume.modality, volume.unit) == ("DX", "grey levels")
