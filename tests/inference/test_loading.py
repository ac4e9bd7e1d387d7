"""One loader for restorers and predictors, weights and ONNX files, names and paths."""

import hashlib
import io
from pathlib import Path

import pytest
import torch

import medley
from medley.errors import MedleyError
from medley.inference.loading import find, load_network, usable_device
from medley.inference.predictor import Predictor
from medley.inference.restorer import Restorer
from medley.models import weights


def test_the_description_decides_what_is_loaded():
    assert isinstance(medley.load("tat-tiny", device="cpu"), Restorer)
    assert isinstance(medley.load("ctan-isic", device="cpu"), Predictor)


def test_only_a_file_hides_a_packaged_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tat-tiny").mkdir()
    (tmp_path / "mine").mkdir()
    assert find("tat-tiny") == weights.packaged()["tat-tiny"]
    with pytest.raises(MedleyError, match="no model 'mine': it is a folder; the packaged models are"):
        find("mine")
    (tmp_path / "tat-tiny").rmdir()
    (tmp_path / "tat-tiny").write_bytes(b"")
    assert find("tat-tiny") == Path("tat-tiny")


def test_a_file_is_opened_once_and_its_checksum_is_of_what_was_read(monkeypatch):
    path, opened = weights.packaged()["tat-tiny"], []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: opened.append(self) or original(self))
    monkeypatch.setattr(weights, "safe_open", None)
    loaded = load_network(path, "cpu")
    assert opened == [path]
    assert loaded.sha256 == hashlib.sha256(original(path)).hexdigest()


def test_an_onnx_file_is_read_once(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    from medley.models import export

    torch.manual_seed(0)
    model = medley.create_model("restormer", dim=4, blocks=(1, 1, 1, 1), refinement=0)
    path = tmp_path / "network.onnx"
    description = weights.Description("small", "restormer", model.config, ("ct-denoise",), {}, "0")
    export.write(path, model.eval(), description)
    content = path.read_bytes()
    monkeypatch.setattr(Path, "open", None)
    monkeypatch.setattr(io, "open", None)
    monkeypatch.setattr(Path, "read_bytes", lambda self: content)
    assert load_network(path).sha256 == hashlib.sha256(content).hexdigest()


def test_auto_is_a_gpu_if_there_is_one(monkeypatch):
    for available, expected in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert usable_device("auto") == torch.device(expected)


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x"])
def test_a_device_that_torch_does_not_know(device):
    with pytest.raises(MedleyError, match="no device"):
        medley.load("tat-tiny", device=device)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tpu"}, "backend must be torch or onnx"),
        ({"backend": "onnx", "precision": "bfloat16"}, "onnxruntime works in float32"),
        ({"backend": "onnx", "device": "cuda"}, "on the CPU only"),
        ({"precision": "float16"}, "precision must be"),
    ],
)
def test_options_that_contradict_each_other(options, message):
    with pytest.raises(MedleyError, match=message):
        medley.load("tat-tiny", **options)


def test_listed_models_can_be_loaded():
    assert set(medley.list_models()) == set(weights.packaged())
    assert {"ct-denoise", "mr-sr", "pet-denoise", "ctan-openkbp"} <= set(medley.list_tasks())
    assert medley.list_models()["tat-tiny"]["architecture"] == "tat"


def test_a_representation_says_what_it_is():
    assert repr(medley.load("tat-tiny", device="cpu")).startswith("Restorer('tat-tiny', tasks=[")
    assert "device='cpu'" in repr(medley.load("tat-tiny", device="cpu"))
    assert repr(medley.load("ctan-isic", device="cpu")).startswith("Predictor('ctan-isic', targets=[")


def test_the_result_is_the_same_to_the_bit_in_every_process():
    """The weights lie at aligned addresses: the rounding of products depends on the alignment."""
    assert all(p.data_ptr() % 64 == 0 for p in load_network("tat-tiny", "cpu").model.parameters())
