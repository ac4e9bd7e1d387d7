"""`medley inspect`: the folder it writes, and sentences for wrong input."""

import csv

import pytest


def test_a_restorer(medley, small_store, model, tmp_path):
    out = tmp_path / "out"
    done = medley("inspect", model, "--data", small_store.path, "-o", out, "--slices", 1)
    assert done.code == 0
    assert {one.name for one in out.iterdir()} == {"inspect.csv", "inspect.html", "embedding.png", "means.png"}
    lines = [line for line in (out / "inspect.csv").read_text().splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(lines))
    assert [(one["record"], one["task"], one["slice"]) for one in rows] == [
        ("scan-2", "ct-denoise", "0"), ("scan-3", "pet-denoise", "0")
    ]  # fmt: skip
    assert sum(float(one["component 1"]) for one in rows) == pytest.approx(0, abs=1e-6)
    assert "2 samples; 100.0 % of the variance between tasks" in done.err  # one sample of each task
    assert "generated kernels" in (out / "inspect.html").read_text()
    again = medley("inspect", model, "--data", small_store.path, "-o", out)
    assert again.code == 1
    assert "exists already" in again.err


def test_a_packaged_network_with_maps(medley, small_store, tmp_path):
    out = tmp_path / "out"
    assert medley("inspect", "amir-tiny", "--data", small_store.path, "-o", out, "--slices", 1).code == 0
    assert {"experts.png", "embedding.png", "means.png"} < {one.name for one in out.iterdir()}


def test_a_predictor_and_a_store_that_does_not_fit(medley, case_store, small_store, predictors, tmp_path):
    done = medley("inspect", predictors["skin"], "--data", small_store.path, "-o", tmp_path / "out")
    assert done.code == 1
    assert "has records of" in done.err
    assert not (tmp_path / "out").exists()
    inside = medley("inspect", predictors["skin"], "--data", small_store.path, "-o", small_store.path / "out")
    assert inside.code == 1
    assert "inputs are never changed" in inside.err
