"""`degrade` and `restore` for PNG, TIFF, and DICOM images without a place: 8 bits, more bits, colour."""

import json

import numpy as np
import pydicom
import pytest
from PIL import Image

from medley.io.pictures import luminance

ROW, COLUMN = np.mgrid[:40, :52]
TILE = np.stack([150 + 60 * np.sin(ROW / 3), 90 + 40 * np.cos(COLUMN / 2), 120 + 0 * ROW], axis=-1).astype(np.uint8)


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def tile(tmp_path):
    Image.fromarray(TILE).save(tmp_path / "tile.png")
    return tmp_path / "tile.png"


@pytest.fixture
def grey(tmp_path):
    Image.fromarray(TILE[..., 0]).save(tmp_path / "chest.png")
    return tmp_path / "chest.png"


def test_degrade_and_restore_a_tile(medley, model, tile, tmp_path):
    assert medley("degrade", tile, "-o", tmp_path / "low.png", "-t", "path-sr").code == 0
    recorded = json.loads((tmp_path / "low.png.json").read_text())
    assert recorded["degradation"]["name"] == "path-low-resolution"
    low = pixels(tmp_path / "low.png")
    assert (low.shape, low.dtype) == (TILE.shape, np.uint8)
    (y, chroma), (low_y, low_chroma) = luminance(TILE), luminance(low)
    assert np.abs(low_y - y).mean() > 3
    assert np.abs(low_chroma - chroma).mean() < 1

    done = medley(
        "restore", tmp_path / "low.png", "-o", tmp_path / "better.png", "-t", "path-sr", "-m", model,
        "--report", tmp_path / "report.html",
    )  # fmt: skip
    assert done.code == 0, done.err
    better = pixels(tmp_path / "better.png")
    assert (better.shape, better.dtype) == (TILE.shape, np.uint8)
    assert not np.array_equal(better, low)
    assert np.abs(luminance(better)[1] - low_chroma).mean() < 1.5
    assert "grey levels" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("task", ["xray-denoise", "us-denoise", "oct-denoise"])
def test_noise_on_a_grey_picture(medley, grey, tmp_path, task):
    assert medley("degrade", grey, "-o", tmp_path / "low.png", "-t", task).code == 0
    low = pixels(tmp_path / "low.png")
    assert (low.shape, low.dtype) == (TILE.shape[:2], np.uint8)
    assert low.astype(float).mean() == pytest.approx(TILE[..., 0].mean(), abs=4)
    assert (low.astype(float) - TILE[..., 0]).std() > 10


def test_a_folder_of_pictures(medley, model, grey, tile, tmp_path):
    done = medley("restore", tmp_path, "-o", tmp_path.parent / "out-of-pictures", "-t", "us-denoise", "-m", model)
    assert done.code == 0, done.err
    assert {path.name for path in (tmp_path.parent / "out-of-pictures").iterdir()} == {"chest.png", "tile.png"}


@pytest.mark.parametrize(
    ("task", "message"),
    [("auto", "does not say its modality"), ("ct-denoise", "needs values in HU, but these are in grey levels")],
)
def test_a_picture_needs_a_task_of_pictures(medley, model, grey, tmp_path, task, message):
    done = medley("restore", grey, "-o", tmp_path / "b.png", "-t", task, "-m", model)
    assert done.code == 1
    assert message in done.err


def test_a_picture_is_not_degraded_as_a_ct(medley, grey, tmp_path):
    done = medley("degrade", grey, "-o", tmp_path / "b.png", "-t", "ct-denoise")
    assert done.code == 1
    assert "is in grey levels, but ct-denoise needs HU" in done.err


def test_a_radiograph_of_12_bits_keeps_its_bits_and_its_scale(medley, model, phantoms, tmp_path):
    """The noise is that of 30 photons at 4095; the task is recognised by the modality, also of computed radiography."""
    values = np.full((60, 60), 2000)
    values[0, 0] = 4000  # so that 12 bits are needed
    source = phantoms.write_planar(tmp_path / "cr.dcm", values, "CR", bits=12)
    assert medley("degrade", source, "-o", tmp_path / "low", "-t", "xray-denoise").code == 0
    low = pydicom.dcmread(tmp_path / "low" / "IM-0001.dcm")
    assert (low.Modality, low.BitsStored) == ("CR", 12)
    expected = np.sqrt(2000 / 4095 / 30) * 4095
    assert low.pixel_array[1:].std() == pytest.approx(expected, rel=0.05)
    done = medley("restore", tmp_path / "low", "-o", tmp_path / "better", "-m", model, "--json", tmp_path / "r.json")
    assert done.code == 0, done.err
    better = pydicom.dcmread(tmp_path / "better" / "IM-0001.dcm")
    assert (better.Modality, better.BitsStored, better.pixel_array.shape) == ("CR", 12, (60, 60))
    (record,) = json.loads((tmp_path / "r.json").read_text())["scans"]
    assert record["task"] == "xray-denoise"
    assert record["normalisation"] == {"low": 0, "high": 4095, "clip": True}


@pytest.mark.parametrize(("modality", "task"), [("US", "us-denoise"), ("OPT", "oct-denoise")])
def test_frames_of_ultrasound_and_oct_are_restored(medley, model, phantoms, tmp_path, modality, task):
    values = np.random.default_rng(0).integers(20, 200, (3, 20, 24))
    source = phantoms.write_planar(tmp_path / "a.dcm", values, modality)
    done = medley("restore", source, "-o", tmp_path / "better", "-m", model)
    assert done.code == 0, done.err
    assert f"{task}, 3 slices" in done.out + done.err
    frames = [pydicom.dcmread(path) for path in sorted((tmp_path / "better").iterdir())]
    assert [frame.BitsAllocated for frame in frames] == [8, 8, 8]
