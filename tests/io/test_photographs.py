"""Masks of every kind are read by their values; what is no photograph or no mask is refused with one sentence."""

import numpy as np
import pytest
from PIL import Image

from medley.errors import MedleyError
from medley.io.photographs import read_mask, read_photograph

INSIDE = np.zeros((20, 30), bool)
INSIDE[5:12, 8:21] = True


def _palette(colours):
    image = Image.fromarray(INSIDE.astype(np.uint8)).convert("P")
    image.putpalette(sum(colours, ()))
    return image


def _alpha(colour):
    rgba = np.zeros((*INSIDE.shape, 4), np.uint8)
    rgba[..., :3] = colour
    rgba[..., 3] = 255 * INSIDE
    return Image.fromarray(rgba)


MASKS = {
    "1 bit": lambda: Image.fromarray(INSIDE),
    "0 and 255": lambda: Image.fromarray((255 * INSIDE).astype(np.uint8)),
    "0 and 1": lambda: Image.fromarray(INSIDE.astype(np.uint8)),
    "0 and 100": lambda: Image.fromarray((100 * INSIDE).astype(np.uint8)),
    "16 bit": lambda: Image.fromarray((65535 * INSIDE).astype(np.uint16)),
    "16 bit, 0 and 1": lambda: Image.fromarray(INSIDE.astype(np.uint16)),
    "black and white palette": lambda: _palette([(0, 0, 0), (255, 255, 255)]),
    "dark red palette": lambda: _palette([(0, 0, 0), (128, 0, 0)]),
    "palette of equal colours": lambda: _palette([(0, 0, 0), (0, 0, 0)]),
    "RGB": lambda: Image.fromarray(np.repeat((255 * INSIDE).astype(np.uint8)[..., None], 3, -1)),
    "white and opaque": lambda: _alpha((255, 255, 255)),
    "black and opaque": lambda: _alpha((0, 0, 0)),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_are_read_by_their_values(tmp_path, kind):
    path = tmp_path / "mask.png"
    MASKS[kind]().save(path)
    np.testing.assert_array_equal(read_mask(path), INSIDE)


def test_a_mask_that_was_compressed_as_jpeg(tmp_path):
    path = tmp_path / "mask.jpg"
    Image.fromarray((255 * INSIDE).astype(np.uint8)).save(path, quality=95)
    np.testing.assert_array_equal(read_mask(path), INSIDE)


@pytest.mark.parametrize("value", [0, 1, 255])
def test_empty_and_full_masks(tmp_path, value):
    path = tmp_path / "mask.png"
    Image.fromarray(np.full((4, 5), value, np.uint8)).save(path)
    assert read_mask(path).all() == (value > 0)


@pytest.mark.parametrize(
    "kind", ["gradient", "two labels", "one grey value", "grey background", "colour and transparency"]
)
def test_ambiguous_masks_are_refused(tmp_path, kind):
    rng = np.random.default_rng(0)
    two_labels = INSIDE.astype(np.uint8) * 100
    two_labels[15:18] = 200
    coloured = rng.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    picture = {
        "gradient": np.tile(np.arange(0, 240, 8, dtype=np.uint8), (20, 1)),
        "two labels": two_labels,
        "one grey value": np.full((20, 30), 90, np.uint8),
        "grey background": np.where(INSIDE, 255, 128).astype(np.uint8),
        "colour and transparency": coloured,
    }[kind]
    path = tmp_path / "mask.png"
    Image.fromarray(picture).save(path)
    with pytest.raises(MedleyError, match=r"mask\.png: has .*expected a mask"):
        read_mask(path)


@pytest.mark.parametrize("read", [read_mask, read_photograph])
def test_damaged_and_huge_pictures(tmp_path, read):
    path = tmp_path / "a.png"
    with pytest.raises(MedleyError, match="does not exist"):
        read(path)
    path.write_bytes(b"no picture")
    with pytest.raises(MedleyError, match="is not a picture"):
        read(path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MedleyError, match="cannot be read as a picture"):
        read(path)
    for rows, columns in ((20000, 20000), (10000, 16000)):  # only the header announces them
        header = rows.to_bytes(4, "big"), columns.to_bytes(4, "big")
        import struct
        import zlib

        chunk = b"IHDR" + header[1] + header[0] + bytes([8, 2, 0, 0, 0])
        start = whole[:8] + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        path.write_bytes(start + whole[33:])
        with pytest.raises(MedleyError, match="too many pixels; expected at most 150 megapixels"):
            read(path)
