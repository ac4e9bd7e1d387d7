"""Exported files: they give what the network gives, say what they are, and a wrong one is refused."""

import json
import sys

import pytest
import torch

from medley.errors import MedleyError
from medley.models import export, weights
from medley.models.onnx_network import OnnxNetwork, describe
from medley.models.zoo import create_model

SMALL = {"dim": 4, "blocks": (1, 1, 1, 1), "refinement": 1}
MORE = {
    "tat": {"generator_width": 4, "window": 32},
    "amir": {"atoms": 4, "dictionary_width": 8},
    "restormer": {},
    "unih3": {"slots": 6},
}


def made(name):
    torch.manual_seed(0)
    model = create_model(name, **SMALL, **MORE[name]).eval()
    for parameter in model.parameters():  # so that every part does something
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model, weights.Description("small", name, model.config, ("ct-denoise",), {"steps": 1}, "0")


@pytest.fixture(scope="module", params=["restormer", "tat", "amir", "unih3"])
def exported(request, tmp_path_factory):
    """(network, description, its ONNX file)."""
    model, description = made(request.param)
    path = tmp_path_factory.mktemp("onnx") / f"{request.param}.onnx"
    assert export.write(path, model, description, "abc") < export.TOLERANCE
    return model, description, path


@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 81, 47), (4, 24, 40)], ids=str)
def test_onnx_gives_what_the_network_gives_at_other_sizes_too(exported, shape):
    model, _, path = exported
    image = torch.rand(shape[0], 1, *shape[1:], generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = model(image)
    found = OnnxNetwork(path)(image)
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    assert (found - expected).norm() < 1e-5 * expected.norm()


def test_onnx_says_what_it_is(exported):
    import onnx

    _, description, path = exported
    assert describe(path) == OnnxNetwork(path).description == weights.described(json.dumps(vars(description)), path)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert {entry.key: entry.value for entry in model.metadata_props}["weights_sha256"] == "abc"
    (image,) = model.graph.input
    assert [dim.dim_param or dim.dim_value for dim in image.type.tensor_type.shape.dim] == [
        "batch", 1, "height", "width",
    ]  # fmt: skip


def test_onnxruntime_has_the_threads_of_torch(exported):
    options = OnnxNetwork(exported[2])._session.get_session_options()
    assert options.intra_op_num_threads == torch.get_num_threads()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tat", "amir"])
def test_an_exported_program_gives_what_the_network_gives_and_says_what_it_is(name, tmp_path):
    model, description = made(name)
    path = tmp_path / "network.pt2"
    assert export.write(path, model, description, "abc") < export.TOLERANCE
    said = {export.DESCRIPTION: "", export.WEIGHTS: ""}
    program = torch.export.load(path, extra_files=said)
    assert weights.described(said[export.DESCRIPTION], path).config == model.config
    assert said[export.WEIGHTS] == "abc"
    image = torch.rand(2, 1, 50, 90, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected, found = model(image), program.module()(image)
    assert (found - expected).norm() < 1e-5 * expected.norm()


def test_a_file_that_gives_something_else_is_refused():
    model, _ = made("restormer")
    with pytest.raises(MedleyError, match=r"the exported small differs from the network by 0\.\d+ for images \(1, 1"):
        export.compare(model, lambda image: 1.01 * model(image), "small")
    with pytest.raises(MedleyError, match="differs from the network by nan"):
        export.compare(model, lambda image: image * float("nan"), "small")


def test_what_predicts_is_refused(tmp_path):
    model = create_model("ctan-tiny", targets={"dose": ("pixel", 1)}, dimension=2, channels=1)
    description = weights.Description("several", "ctan", model.config, ("dose",), {}, "0")
    with pytest.raises(MedleyError, match="several is not a restorer; only restorers"):
        export.write(tmp_path / "x.onnx", model, description)
    assert list(tmp_path.iterdir()) == []


def test_files_of_other_programs_are_refused(exported, tmp_path):
    import onnx

    path = tmp_path / "x.onnx"
    with pytest.raises(MedleyError, match="there is no file"):
        describe(path)
    path.write_bytes(b"not a network at all")
    with pytest.raises(MedleyError, match="is not a complete ONNX file"):
        describe(path)
    model = onnx.load(exported[2])
    model.graph.initializer[3].raw_data = bytes(len(model.graph.initializer[3].raw_data))
    onnx.save(model, path)
    with pytest.raises(MedleyError, match="is damaged: its tensors do not match the checksum"):
        describe(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(MedleyError, match="was not written by medley"):
        describe(path)


def test_a_missing_extra_is_named(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MedleyError, match=r'needs the package onnxruntime; run pip install "\.\[onnx\]"'):
        OnnxNetwork(exported[2])
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MedleyError, match="needs the package onnx; run pip"):
        describe(exported[2])
