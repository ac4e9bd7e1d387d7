"""`medley export`, and `medley restore` with what it made."""

import json

import nibabel as nib
import numpy as np
import pytest

import medley as package
from medley.errors import MedleyError
from medley.inference import loading
from medley.inference.loading import load
from medley.models import export as files
from medley.normalisation import Normalisation
from medley.tasks import TASKS


@pytest.fixture(scope="module")
def onnx_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    loaded = loading.load_network(model)
    files.write(path, loaded.model, loaded.description, loaded.sha256)
    return path


def test_the_exported_file_restores_without_the_weights(medley, model, ct_nifti, tmp_path):
    file = tmp_path / "tiny.onnx"
    done = medley("export", model, "-o", file)
    assert done.code == 0, done.err
    assert "tiny: " in done.err
    restored = {}
    for name, options in {
        "torch": ["-m", model],
        "file": ["-m", file],
        "fly": ["-m", model, "--backend", "onnx"],
    }.items():
        out, record = tmp_path / f"{name}.nii.gz", tmp_path / f"{name}.json"
        done = medley("restore", ct_nifti, "-o", out, "-t", "ct-denoise", "--json", record, *options)
        assert done.code == 0, done.err
        restored[name] = nib.load(out).get_fdata()
        (scan,) = json.loads(record.read_text())["scans"]
        assert scan["backend"] == ("torch" if name == "torch" else "onnx")
        assert scan["model"]["name"] == "tiny"
    np.testing.assert_allclose(restored["file"], restored["torch"], atol=1)  # a whole HU may be rounded the other way
    np.testing.assert_array_equal(restored["file"], restored["fly"])


def test_restorers_of_both_backends_agree(model, onnx_file):
    span = Normalisation(*TASKS["ct-denoise"].range)
    noisy = np.random.default_rng(0).normal(0, 200, (3, 30, 41)).astype(np.float32)
    torch_one, onnx_one = load(model), package.load(onnx_file)
    by_torch, by_onnx = (one.restore_slices(noisy, "ct-denoise", span) for one in (torch_one, onnx_one))
    # float32: both differ from float64 by about as much as from each other
    assert np.linalg.norm(by_torch - by_onnx) < 1e-4 * np.linalg.norm(by_torch)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backend", "torch"], "which torch cannot run"),
        (["--device", "cuda"], "ONNX runs on the CPU only, but the device is 'cuda'"),
        (["--precision", "bfloat16"], "onnxruntime works in float32"),
    ],
)
def test_options_that_onnx_does_not_support_are_refused(medley, onnx_file, ct_nifti, tmp_path, options, words):
    out = tmp_path / "o.nii.gz"
    done = medley("restore", ct_nifti, "-o", out, "-t", "ct-denoise", "-m", onnx_file, *options)
    assert done.code == 1
    assert words in done.err
    assert not out.exists()


def test_export_refuses_before_any_work(medley, model, onnx_file, predictors, tmp_path):
    assert "the name must end in .onnx or .pt2" in medley("export", model, "-o", tmp_path / "x.txt").err
    assert "is an exported file already" in medley("export", onnx_file, "-o", tmp_path / "x.pt2").err
    assert "there is no model 'nobody'" in medley("export", "nobody", "-o", tmp_path / "x.onnx").err
    assert "is not a restorer" in medley("export", predictors["plans"], "-o", tmp_path / "x.onnx").err
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x.onnx").write_text("kept")
    assert "exists already" in medley("export", model, "-o", tmp_path / "x.onnx").err
    assert (tmp_path / "x.onnx").read_text() == "kept"


def test_a_file_with_a_different_output_is_not_written(medley, model, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "TOLERANCE", -1.0)
    done = medley("export", model, "-o", tmp_path / "x.onnx")
    assert done.code == 1
    assert "differs from the network" in done.err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_backend_is_refused(model):
    with pytest.raises(MedleyError, match="the backend must be torch or onnx, but is 'tpu'"):
        loading.load(model, backend="tpu")
