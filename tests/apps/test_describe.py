"""`medley describe`, and what `predict`, `restore` and `models` do with the description."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from medley.models import weights

from .conftest import PLANS, SKIN, save_nifti


@pytest.fixture
def described(medley, predictors, subjects, tmp_path):
    """Describes the weights of a small predictor by name, and returns the new file."""

    def describe(name: str) -> Path:
        task = {"plans": PLANS, "skin": SKIN}[name]
        subjects.prediction(tmp_path / f"{name}-store", task)
        out = tmp_path / f"{name}.safetensors"
        done = medley("describe", predictors[name], "--data", tmp_path / f"{name}-store", "-o", out)
        assert done.code == 0, done.err
        assert f"{name}: 12 subjects" in done.err
        return out

    return describe


def nifti(folder: Path, name: str, hu: np.ndarray) -> Path:
    """A body of (head to feet, front to back, right to left) with voxels of 4 mm; the file has axes to L, P, S."""
    import nibabel as nib

    values = hu[::-1].transpose(2, 1, 0)
    path = folder / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(values.astype(np.int16), np.diag([-4.0, -4.0, 4.0, 1.0])), path)
    return path


def test_tensors_and_all_else_stay_the_same(described, predictors) -> None:
    new = described("plans")
    old, now = load_file(predictors["plans"]), load_file(new)
    assert old.keys() == now.keys()
    for name, tensor in old.items():
        np.testing.assert_array_equal(tensor, now[name])
        assert tensor.dtype == now[name].dtype
    before, after = weights.describe(predictors["plans"]), weights.describe(new)
    assert after.training_scans["plans"]["features"]
    assert (before.config, before.training, before.task) == (after.config, after.training, after.task)
    weights.load(new)


def test_half_precision_stays_half(medley, model, subjects, tmp_path) -> None:
    half = tmp_path / "half.safetensors"
    assert medley("export", model, "-o", half).code == 0
    store = subjects.restoration(tmp_path / "store")
    before = load_file(half)
    done = medley("describe", half, "--data", store.path)  # the file itself
    assert done.code == 0, done.err
    assert "ct-denoise: 10 subjects" in done.err
    assert "mr-sr: too few subjects: no check" in done.err
    now = load_file(half)
    assert {one.dtype for one in now.values() if one.ndim > 1} == {np.dtype(np.float16)}
    assert all(now[name].dtype == before[name].dtype for name in before)
    assert all((now[name] == before[name]).all() for name in before)


def test_a_store_of_another_task_is_refused_and_the_file_is_unchanged(medley, predictors, subjects, tmp_path) -> None:
    subjects.restoration(tmp_path / "store")
    content = predictors["plans"].read_bytes()
    done = medley("describe", predictors["plans"], "--data", tmp_path / "store")
    assert done.code == 1
    assert "holds no 8 training subjects with scans for plans; give the store that plans was trained on" in done.err
    assert predictors["plans"].read_bytes() == content


def test_an_existing_file_is_kept(medley, predictors, subjects, tmp_path) -> None:
    subjects.prediction(tmp_path / "store", PLANS)
    (tmp_path / "there.safetensors").write_text("kept")
    done = medley("describe", predictors["plans"], "--data", tmp_path / "store", "-o", tmp_path / "there.safetensors")
    assert done.code == 1
    assert "exists already" in done.err
    assert (tmp_path / "there.safetensors").read_text() == "kept"


def test_a_body_like_the_training_scans_is_predicted_from(medley, described, subjects, tmp_path) -> None:
    scan = nifti(tmp_path, "like", subjects.body(20)[0])
    done = medley("predict", scan, "-o", tmp_path / "out", "-m", described("plans"))
    assert done.code == 0, done.err
    likeness = json.loads((tmp_path / "out" / "prediction.json").read_text())["likeness"]
    assert likeness["alike"]
    assert 0 < likeness["distance"] <= likeness["limit"]


def test_an_unlike_body_is_refused_and_nothing_is_written(medley, described, subjects, tmp_path) -> None:
    hu = np.full((16, 16, 16), -1000)
    hu[:, 5:11, 6:10] = 300
    scan, model, page = nifti(tmp_path, "bone", hu), described("plans"), tmp_path / "r.html"
    done = medley("predict", scan, "-o", tmp_path / "out", "-m", model, "--report", page)
    assert done.code == 1
    assert "unlike the training scans of plans: " in done.err
    assert re.search(r"\(trained: [\d.e+-]+ to [\d.e+-]+ (HU|%|mm|cm2)\)", done.err)
    assert "--force" in done.err
    assert not (tmp_path / "out").exists()
    assert not page.exists()

    done = medley("predict", scan, "-o", tmp_path / "out", "-m", model, "--report", page, "--force")
    assert done.code == 0, done.err
    assert "bone: unlike the training scans of plans: " in done.err
    likeness = json.loads((tmp_path / "out" / "prediction.json").read_text())["likeness"]
    assert not likeness["alike"]
    assert likeness["differences"][0]["value"] > likeness["differences"][0]["high"] or (
        likeness["differences"][0]["value"] < likeness["differences"][0]["low"]
    )
    assert page.read_text().count("nlike the training scans of plans") == 1  # once, at the top


def test_noise_is_no_photograph_of_skin(medley, described, subjects, tmp_path) -> None:
    model = described("skin")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    Image.fromarray(np.moveaxis(subjects.skin(20), 0, -1)).save(tmp_path / "mole.png")
    refused = medley("predict", tmp_path / "noise.png", "-o", tmp_path / "noise", "-m", model)
    assert refused.code == 1
    assert "unlike the training scans of skin: " in refused.err
    assert not (tmp_path / "noise").exists()
    accepted = medley("predict", tmp_path / "mole.png", "-o", tmp_path / "mole", "-m", model)
    assert accepted.code == 0, accepted.err


def test_weights_without_a_description_work_without_a_check(medley, predictors, subjects, tmp_path) -> None:
    scan = nifti(tmp_path, "like", subjects.body(20)[0])
    done = medley("predict", scan, "-o", tmp_path / "out", "-m", predictors["plans"])
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "out" / "prediction.json").read_text())["likeness"] is None


def test_restore_reports_before_it_works_and_goes_on(medley, model, subjects, tmp_path) -> None:
    store = subjects.restoration(tmp_path / "store")
    described = tmp_path / "described.safetensors"
    assert medley("describe", model, "--data", store.path, "-o", described).code == 0
    scan = save_nifti(tmp_path / "odd.nii.gz", np.random.default_rng(0).integers(-1000, 900, (32, 32, 3)))
    out, page, record = tmp_path / "out.nii.gz", tmp_path / "r.html", tmp_path / "r.json"
    task = ("--task", "ct-denoise")
    done = medley("restore", scan, "-o", out, "-m", described, *task, "--report", page, "--json", record)
    assert done.code == 0, done.err
    assert done.err.startswith("note: odd: unlike the training scans of tiny: ")
    likeness = json.loads(record.read_text())["scans"][0]["likeness"]
    assert not likeness["alike"]
    assert "correlation of neighbouring pixels" in [one["words"] for one in likeness["differences"]]
    assert "unlike the training scans of tiny" in page.read_text()


def test_models_says_which_weights_are_checked(medley, predictors, described, monkeypatch) -> None:
    files = {"plans": described("plans"), "skin": predictors["skin"]}
    monkeypatch.setattr(weights, "packaged", lambda: files)
    rows = {line.split()[0]: line for line in medley("models").out.splitlines() if line.strip()}
    assert "recognised" in rows["plans"]
    assert "no check" in rows["skin"]
    scans = json.loads(medley("models", "--json").out)["plans"]["training_scans"]["plans"]
    assert scans["subjects"] == 12
    assert scans["features"]["upper_area"]["unit"] == "cm2"
    assert scans["features"]["upper_area"]["low"] < scans["features"]["upper_area"]["high"]
