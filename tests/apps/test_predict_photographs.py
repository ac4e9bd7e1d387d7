"""`medley predict` with photographs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medley.io.photographs import read_photograph


def test_a_photograph_gives_a_mask_and_a_diagnosis(medley, predictors, photograph, tmp_path) -> None:
    out, page = tmp_path / "out", tmp_path / "r.html"
    done = medley("predict", photograph, "-o", out, "-m", predictors["skin"], "--report", page)
    assert done.code == 0, done.err
    with Image.open(out / "segmentation" / "lesion.png") as mask:
        assert (mask.size, mask.mode) == ((80, 60), "1")
        share = np.asarray(mask).mean()
    answers = json.loads((out / "prediction.json").read_text())["answers"]
    assert answers["segmentation"]["lesion"]["share"] == pytest.approx(share, rel=1e-3)
    assert set(answers["diagnosis"]["probabilities"]) == {"nevus", "melanoma"}
    assert page.read_text().count("data:image/png;base64,") == 1
    assert 'class="bars"' in page.read_text()


def test_the_orientation_of_the_camera_is_respected(tmp_path) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:5] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter, clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    seen = read_photograph(tmp_path / "turned.png")
    assert seen.shape == (60, 40, 3)
    assert (seen[:, -5:] == 255).all()


def spoilt(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"{kind}.png"
    if kind == "grey":
        Image.fromarray(np.zeros((40, 40), np.uint8)).save(path)
    elif kind == "text":
        path.write_text("no picture")
    elif kind == "cut":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:2000])
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("grey", r"grey.png: is a grey picture \(L\); expected a colour photograph"),
        ("text", "text.png: is not a picture"),
        ("cut", "cut.png: cannot be read as a picture"),
        ("missing", "missing.png: does not exist"),
    ],
)
def test_bad_photographs_are_refused_in_one_line(medley, predictors, tmp_path, kind, message) -> None:
    done = medley("predict", spoilt(tmp_path, kind), "-o", tmp_path / "out", "-m", predictors["skin"])
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert re.search(message, done.err)
    assert not (tmp_path / "out").exists()


def test_a_broken_photograph_does_not_stop_the_others(medley, predictors, photograph, tmp_path) -> None:
    folder = tmp_path / "photographs"
    (folder / "more").mkdir(parents=True)
    photograph.rename(folder / "more" / "b.png")
    spoilt(folder, "text")
    pages, out = tmp_path / "pages", tmp_path / "out"
    done = medley("predict", folder, "-o", out, "-m", predictors["skin"], "--report", pages, "--json", "-", "-q")
    assert done.code == 3
    assert [("error" in one, one["name"]) for one in json.loads(done.out)["scans"]] == [
        (False, "more/b"),
        (True, "text"),
    ]
    assert (out / "more" / "b" / "segmentation" / "lesion.png").is_file()
    assert (pages / "more" / "b.html").is_file()
    assert not (out / "text").exists()
