"""Every case runs, in every form; the tables are what they say."""

import argparse
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest
from benchmarks.cases import FAST, ONNX, PLAIN, PROGRAM, UNTUNED, Case, phantom, prepare
from benchmarks.floor import Rates
from benchmarks.loader import consumption, make_store, patches_per_second

from benchmarks import cases, speed


@pytest.mark.parametrize("form", [FAST, PLAIN])
@pytest.mark.parametrize("precision", speed.PRECISIONS)
@pytest.mark.parametrize("what", ["slices", "step", "lean step", "whole step"])
def test_every_case_runs(what, precision, form, monkeypatch):
    monkeypatch.setattr(cases, "keep_buffers", lambda **_: True)  # this process shall stay as it is
    prepare(Case("amir-tiny", what, 2, 16, precision), form)()


@pytest.mark.parametrize("form", [ONNX, PROGRAM])
def test_exported_forms_run(form, tmp_path, monkeypatch):
    """Without the process that exports."""
    monkeypatch.setattr(cases, "keep_buffers", lambda **_: True)
    monkeypatch.setattr(cases, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(cases, "mkdtemp", lambda: str(tmp_path))
    pytest.importorskip("onnxruntime")
    prepare(Case("amir-tiny", "slices", 2, 24, "float32"), form)()


def test_custom_nodes_are_replaced():
    asked = argparse.Namespace(plain=True, untuned=True, exported=True)
    forms = {what: speed.forms(Case("tat", what, 1, 64, "float32"), asked) for what in ("slices", "step", "lean step")}
    assert forms == {
        "slices": [FAST, PLAIN, UNTUNED, ONNX, PROGRAM],
        "step": [FAST, PLAIN, UNTUNED],
        "lean step": [FAST],
    }


def test_rows_replace_older_ones_of_the_same_case_and_form(tmp_path):
    row = dict.fromkeys(speed.HEADERS, "1") | {"network": "tat", "form": FAST}
    speed.write(tmp_path / "speed.csv", [row, row | {"form": PLAIN}])
    speed.write(tmp_path / "speed.csv", [row | {"seconds": "2"}, row | {"side": "512"}])
    lines = (tmp_path / "speed.csv").read_text().splitlines()
    assert len(lines) == 4
    assert "tat,1,1,1,1,fast,2,1" in lines[1]


def test_a_step_costs_three_passes_a_sample():
    assert Case("tat", "slices", 8, 128, "float32").passes == 8
    assert Case("tat", "step", 4, 128, "float32").passes == 12


@pytest.mark.slow
def test_a_volume_is_restored_by_the_command(monkeypatch):
    monkeypatch.setattr(cases, "keep_buffers", lambda **_: True)
    prepare(Case("amir-tiny", "volume", 2, 24, "float32"), FAST)()


def test_a_volume_that_cannot_be_restored_is_reported(monkeypatch):
    monkeypatch.setattr(cases, "keep_buffers", lambda **_: True)
    with pytest.raises(RuntimeError, match=r"medley restore in .* failed"):
        prepare(Case("amir-tiny", "volume", 1, 24, "float8"), FAST)()


@pytest.mark.slow
def test_a_measurement_is_a_row_for_each_form(tmp_path):
    case = Case("amir-tiny", "slices", 1, 16, "float32")
    rows = speed.measure(case, [FAST, PLAIN], 2, Rates(1e9, 1e9, 4))
    assert [row["form"] for row in rows] == [FAST, PLAIN]
    assert rows[0]["ratio"] == "1.00"
    assert all(float(row["seconds"]) > 0 and row["peak_MB"] > 50 for row in rows)
    speed.write(tmp_path / "speed.csv", rows)
    assert (tmp_path / "speed.csv").read_text().splitlines()[0] == ",".join(speed.HEADERS)


def test_a_phantom_is_a_ct():
    volume = phantom(2, 64)
    data = np.asarray(volume.data)
    assert volume.spacing == pytest.approx((1.5, 0.7, 0.7))
    assert data[:, :2, :2].mean() < -950
    assert 30 < np.median(data[:, 28:36, 28:36]) < 50
    assert not np.array_equal(data[0], data[1])
    assert nib.aff2axcodes(volume.affine) == ("S", "P", "L")


def test_a_store_gives_patches(tmp_path):
    store = make_store(tmp_path / "store", 32, volumes=1, slices=2)
    assert patches_per_second(store, 16, 2, seconds=0.05) > 0


def test_consumption_is_read_from_a_table(tmp_path):
    row = dict.fromkeys(speed.HEADERS, "") | {"network": "tat", "precision": "float32", "form": FAST, "side": 128}
    rows = [
        row | {"what": "slices", "count": 1, "seconds": 1},
        row | {"what": "step", "count": 4, "seconds": 8},
        row | {"what": "step", "count": 4, "seconds": 8, "side": 64},
    ]
    speed.write(tmp_path / "speed.csv", rows)
    assert consumption(tmp_path / "speed.csv", 128) == {"tat, step in float32, fast,": 0.5}
