"""`medley calibrate`: what it writes, and sentences for wrong input."""

import csv

import numpy as np
import pytest
from safetensors.numpy import load_file

from medley.experiments import calibrate as calibrating
from medley.models import weights


def test_weights_state_their_expected_error(medley, model, subjects, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrating, "_STEPS", 50)
    monkeypatch.setattr(calibrating, "_PIXELS", 200)
    store = subjects.restoration(tmp_path / "store", count=4, valid=4, noise=10.0)
    out, table = tmp_path / "ours.safetensors", tmp_path / "coverage.csv"
    done = medley("calibrate", model, "--data", store.path, "-o", out, "--table", table)
    assert done.code == 0, done.err
    before, after = load_file(model), load_file(out)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        np.testing.assert_array_equal(tensor, after[name])
    assert weights.describe(out).expected_error.keys() == {"ct-denoise"}
    rows = list(csv.DictReader(line for line in table.read_text().splitlines() if not line.startswith("#")))
    assert rows[0]["task"] == "ct-denoise"
    assert 0.5 < float(rows[0]["coverage"]) <= 1
    assert f"{100 * float(rows[0]['coverage']):.1f} %" in done.out
    again = medley("calibrate", model, "--data", store.path, "-o", out)
    assert again.code == 1
    assert "exists already" in again.err


@pytest.mark.parametrize(("which", "message"), [("plans", "expected a restorer"), ("store", "4 validation subjects")])
def test_wrong_requests_are_refused_in_a_sentence(medley, model, predictors, small_store, tmp_path, which, message):
    file = predictors["plans"] if which == "plans" else model
    out = tmp_path / "ours.safetensors"
    done = medley("calibrate", file, "--data", small_store.path, "-o", out)
    assert done.code == 1
    assert message in done.err
    assert not out.exists()
