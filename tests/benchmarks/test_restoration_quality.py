"""Each check finds the error that it is meant for, and nothing else: known restorers on known scans."""

import csv
import sys

import nibabel as nib
import numpy as np
import pytest
from benchmarks.quality import measures
from benchmarks.quality.checks import Case, case_of_scan, check
from benchmarks.quality.inserts import check_insertion, insertion
from benchmarks.quality.rows import HEADERS, Row, summary, write
from scipy import ndimage

from benchmarks import restoration_quality
from medley.errors import MedleyError
from medley.metrics.noise import noise_levels
from medley.metrics.physical import Tissue
from medley.scoring.methods import Input
from medley.tasks import TASKS

NOISE = 10.0  # HU


class Changed(Input):
    """A restorer that applies a function to the slices (n, row, column)."""

    def __init__(self, change):
        self._change = change

    def restore(self, slabs, task, normalisation):
        return self._change(slabs.centre)


def rows(task, change=lambda x: x, *, given=None, target=None, spacing=(2.0, 1.0, 1.0)):
    """{name of the check: row} of a restorer that applies `change`."""
    target = {"ct-denoise": ct, "pet-denoise": pet}[task]() if target is None else target
    case = Case("scan", task, target if given is None else given, target, TASKS[task].normalisation, spacing, "store")
    return {row.check.removesuffix(f", {task}, store"): row for row in check(case, Changed(change), "model")}


def failed(found):
    return {name for name, row in found.items() if row.passed is False}


def ct():
    """A disc of soft tissue with bone of a fine texture, with noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:90, :90] - 44.5
    scan = np.where(np.hypot(y, x) < 44, 50.0, -1000) * np.ones((6, 1, 1))
    bone = np.abs(y) + np.abs(x) < 8
    scan[:, bone] = 400 + rng.normal(0, 50, (6, bone.sum()))
    return (scan + rng.normal(0, NOISE, scan.shape)).astype(np.float32)


def pet():
    """Warm tissue with two hot spots, and one voxel that is too small to be one."""
    rng = np.random.default_rng(0)
    scan = 1.5 + rng.uniform(0, 0.1, (8, 40, 40))
    scan[2:4, 5:8, 5:8], scan[5, 20:22, 20:22], scan[6, 30, 30] = 8, 5, 9
    return scan.astype(np.float32)


@pytest.mark.parametrize("task", ["ct-denoise", "pet-denoise"])
def test_the_unchanged_scan_passes_all_checks(task):
    found = rows(task)
    assert failed(found) == set()
    assert found["change"].value == 0
    assert found["stripes"].value == pytest.approx(1)
    for name, value in {"mean HU": 0, "texture of bone": 1, "total SUV": 0, "SUVmax of hot spots": 0}.items():
        if name in found:
            assert found[name].value == pytest.approx(value)


def test_two_hounsfield_units_are_a_bias():
    found = rows("ct-denoise", lambda x: x - 2)
    assert failed(found) == {"mean HU"}
    assert found["mean HU"].value == pytest.approx(-2, abs=1e-4)
    assert found["mean HU, farthest block"].value == pytest.approx(-2, abs=1e-4)


def test_bias_is_measured_in_homogeneous_soft_tissue_only():
    """An error in air and bone is not part of it, also not in the blocks at their edges."""
    target = ct()
    soft = (target > 0) & (target < 100)
    biases = measures.block_biases(np.where(soft, target, target + 500), target, (2, 1, 1))
    assert biases.size > 20
    assert not biases.any()


def test_smoothing_changes_more_than_noise_and_takes_texture():
    found = rows("ct-denoise", lambda x: ndimage.gaussian_filter(x, (0, 2, 2)))
    assert {"change", "texture of bone"} <= failed(found)
    assert found["texture of bone"].value < 0.5
    assert found["amplitude kept at high frequencies"].value < 0.1


def test_the_own_noise_is_that_of_the_scan():
    found = rows("ct-denoise")
    assert found["own noise"].value == pytest.approx(NOISE, rel=0.15)
    assert found["own noise over 2 x 2 pixels"].value == pytest.approx(NOISE / 2, rel=0.2)
    assert found["change"].limit == f"<= {found['own noise'].value:.4g}"
    assert np.isclose(found["own noise"].value, np.median([noise_levels(one)[0] for one in ct()]))


def test_correlated_noise_is_seen_in_homogeneous_blocks():
    """Second differences see much less of it."""

    def block_noise(scan):
        tissue = Tissue((2, 1, 1))
        tissue.add(scan, scan, range(len(scan)))
        return tissue.values().get("noise")

    rng = np.random.default_rng(0)
    white = rng.normal(0, NOISE, (6, 90, 90)).astype(np.float32)
    smooth = ndimage.gaussian_filter(white, (0, 1, 1))
    smooth *= NOISE / smooth.std()
    assert block_noise(white) == pytest.approx(0.9 * NOISE, rel=0.05)
    assert block_noise(smooth) > 0.6 * NOISE > 2 * measures.own_noise(smooth)[0]
    assert block_noise(white + 1000) is None


def test_the_texture_is_not_measured_on_coarse_grids():
    assert "texture of bone" not in rows("ct-denoise", spacing=(2.0, 4.0, 4.0))


def test_gain_is_that_of_psnr():
    """Half the noise is 6 dB; 0.05 dB less than the input is too much."""
    target = ct()
    given = target + np.random.default_rng(1).normal(0, 20, target.shape).astype(np.float32)
    better = rows("ct-denoise", lambda x: (x + target) / 2, given=given, target=target)
    assert better["gain"].value == pytest.approx(20 * np.log10(2), abs=0.1)
    assert better["gain"].value == better["PSNR restored"].value - better["PSNR of the input"].value
    worse = rows("ct-denoise", lambda x: target + 1.01 * (x - target), given=given, target=target)
    assert better["gain"].passed
    assert failed(worse) == {"gain"}
    assert not {"stripes", "texture of bone", "change"} & set(better)


def test_hot_spots_keep_their_maximum():
    target = pet()
    ratios = measures.hot_spot_ratios(np.where(target > 4, target * 0.9, target), target)
    assert ratios == pytest.approx([0.9, 0.9])
    lower = rows("pet-denoise", lambda x: np.where(x > 4, x * 0.9, x))
    assert lower["SUVmax of hot spots"].value == pytest.approx(-10, abs=1e-3)
    assert "SUVmax of hot spots" in failed(lower)
    raised = rows("pet-denoise", lambda x: np.where(x > 4, x * 1.1, x))
    assert raised["SUVmax of hot spots"].passed  # at full counts they must not be lowered
    degraded = rows("pet-denoise", lambda x: np.where(x > 4, target * 1.1, target), given=target * 1.001, target=target)
    assert "SUVmax of hot spots" in failed(degraded)


def test_a_scan_without_hot_spots_has_no_such_row():
    assert "SUVmax of hot spots" not in rows("pet-denoise", target=np.minimum(pet(), 2.9))


@pytest.mark.parametrize(("factor", "passed"), [(1.004, True), (1.006, False), (0.994, False)])
def test_the_total_is_kept(factor, passed):
    assert rows("pet-denoise", lambda x: x * np.float32(factor))["total SUV"].passed is passed


def test_slices_that_differ_are_stripes():
    stripes = 0.02 * (-1.0) ** np.arange(8)[:, None, None]
    found = rows("pet-denoise", lambda x: x + stripes)
    assert failed(found) == {"stripes"}
    assert found["stripes"].value > 1.1
    assert found["step ratio of the input"].value < found["step ratio restored"].value


def test_step_ratio_of_a_ramp():
    """Steps of 3 between slices, 2 between rows, 0 between columns; outside the mask nothing counts."""
    k, y, _ = np.mgrid[:4, :5, :6]
    ramp, everywhere = 3.0 * k + 2 * y, np.ones((4, 5, 6), bool)
    rows, columns = 4 * 4 * 6, 4 * 5 * 5  # numbers of steps
    assert measures.step_ratio(ramp, everywhere) == pytest.approx(3 * (rows + columns) / (2 * rows))
    assert measures.step_ratio(np.where(y == 4, 1e6, ramp), y < 4) == measures.step_ratio(ramp, y < 4)
    assert np.isnan(measures.step_ratio(k[:1], np.ones((1, 5, 6), bool)))


@pytest.mark.parametrize("task", ["ct-denoise", "pet-denoise"])
def test_an_insertion_left_raw_fails(task):
    high = TASKS[task].range[1]
    made = insertion(task)
    assert (made.clean[:, made.inside] > high).all()
    assert (made.clean[:, made.around] < high).all()

    def smooth(x):
        return ndimage.gaussian_filter(x, (0, 1, 1))

    unchanged, everywhere, below = (
        check_insertion(task, Changed(change), "model")[1]
        for change in (lambda x: x, smooth, lambda x: np.where(x > high, x, smooth(x)))
    )
    assert (unchanged.value, unchanged.passed) == (0, True)
    assert everywhere.passed
    assert everywhere.value > 30
    assert below.passed is False


def test_rows_and_their_table(tmp_path):
    made = [
        Row("a", "gain", "one", 0.5, "dB", low=-0.05),
        Row("a", "gain", "two", -0.5, "dB", low=-0.05),
        Row("a", "PSNR", "one", 40.0, "dB"),
        Row("a", "bias", "one", float("nan"), "HU", -1, 1),
    ]
    write(made, tmp_path / "quality.csv")
    with open(tmp_path / "quality.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert tuple(found[0]) == HEADERS
    assert [row["passed"] for row in found] == ["yes", "no", "", "no"]
    assert [row["limit"] for row in found] == [">= -0.05", ">= -0.05", "", "-1 to 1"]
    lines = {line[1]: line for line in summary(made)}
    assert lines["gain"] == ("a", "gain", "2", "0", "-0.5", "0.5", "dB", ">= -0.05", "1 of 2")
    assert lines["PSNR"][-2:] == ("", "")


def test_the_validation_records_of_a_store_are_measured(store):
    found = restoration_quality.measure({"input": Input()}, [store.path], [])
    gains = [row for row in found if row.check.startswith("gain, ")]
    assert [row.scan for row in gains] == [record.id for record in store.records("valid")]
    assert all(row.value == 0 and row.passed for row in gains)
    some = restoration_quality.measure({"input": Input()}, [store.path], [], ["pet-denoise-valid-1"])
    assert {row.scan for row in some if row.check.startswith("gain, ")} == {"pet-denoise-valid-1"}


def test_a_file_needs_its_task(tmp_path):
    nib.save(nib.Nifti1Image(pet().T, np.diag([4.0, 4, 3, 1])), tmp_path / "scan.nii.gz")
    (case,) = restoration_quality.cases([], [f"pet-denoise={tmp_path / 'scan.nii.gz'}"])
    assert (case.scan, case.task, case.degraded) == ("scan", "pet-denoise", False)
    assert case.target.shape == (8, 40, 40)
    with pytest.raises(MedleyError, match="TASK="):
        case_of_scan(tmp_path / "scan.nii.gz")


def test_models_of_one_name_are_told_apart():
    assert restoration_quality.names(["tat-tiny", "runs/a/slab.safetensors", "runs/b/slab.safetensors"]) == [
        "tat-tiny",
        "a/slab",
        "b/slab",
    ]


def test_the_command_measures_a_packaged_restorer(tmp_path, store, monkeypatch, capsys):
    output = tmp_path / "quality.csv"
    given = ["amir-tiny", "input", "--store", str(store.path), "--records", "ct-denoise-valid-0", "-o", str(output)]
    monkeypatch.setattr(sys, "argv", ["restoration_quality", *given])
    restoration_quality.main()
    with open(output, newline="") as file:
        found = list(csv.DictReader(file))
    assert {row["model"] for row in found} == {"amir-tiny", "input"}
    above = [row for row in found if row["check"] == "noise removed above the range, ct-denoise"]
    assert [(row["model"], row["passed"]) for row in above] == [("amir-tiny", "no"), ("input", "yes")]
    assert "gain, ct-denoise, store" in capsys.readouterr().out
