"""`medley data check`: exit codes, sentences and the contact sheet."""

import numpy as np
import pytest
from PIL import Image
from tests.made_store import make


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make(tmp_path_factory.mktemp("store") / "made")


def test_a_good_store(medley, store):
    done = medley("data", "check", store.path)
    assert done.code == 0
    assert f"{len(store.records())} records, 0 damaged, 0 problems" in done.err
    rows = [line.split() for line in done.out.splitlines()]
    assert ["ct-denoise", "train", "2", "2", "8"] in rows
    assert any(row[:4] == ["pet-denoise", "valid", "image", "SUV"] for row in rows)


def test_contact_sheets(medley, store, tmp_path):
    files = tmp_path / "sheet.png", tmp_path / "sheet.html"
    assert medley("data", "check", store.path, "--sheet", files[0], "--sheet", files[1]).code == 0
    pixels = np.asarray(Image.open(files[0]))
    assert pixels.shape[1] > 2 * 200
    assert 0.05 < (pixels < 250).mean() < 0.95
    page = files[1].read_text()
    assert "<h1>made</h1>" in page
    assert "data:image/png;base64," in page
    assert "ct-denoise" in page
    again = medley("data", "check", store.path, "--sheet", files[0])
    assert again.code == 1
    assert "exists" in again.err
    assert medley("data", "check", store.path, "--sheet", tmp_path / "a.jpg").code == 1


def test_a_truncated_array(medley, tmp_path):
    store = make(tmp_path / "made")
    folder = store.path / "records" / "ct-denoise-train-0" / "image"
    chunk = max((one for one in folder.rglob("*") if one.is_file()), key=lambda one: one.stat().st_size)
    chunk.write_bytes(chunk.read_bytes()[:40])
    done = medley("data", "check", store.path, "--sheet", tmp_path / "sheet.png")
    assert done.code == 1
    assert f"{len(store.records())} records, 1 damaged, 1 problem" in done.err
    assert "cannot be read as an array of a store, it is broken or cut short" in done.err
    assert (tmp_path / "sheet.png").exists()


def test_a_store_of_other_targets(medley, small_store, tmp_path):
    assert medley("data", "check", small_store.path, "--sheet", tmp_path / "sheet.png").code == 0
    assert (tmp_path / "sheet.png").exists()
