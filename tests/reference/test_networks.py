"""Restormer, TAT and AMIR, in both forms, compute what the original programs computed."""

import pytest
import torch
from torch import Tensor

from medley.models.amir import AMIR
from medley.models.blocks import Trunk
from medley.models.convert import convert_original
from medley.models.fast import textbook
from medley.models.tat import TAT

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}
SINGLE, DOUBLE = torch.float32, torch.float64
FORMS = pytest.mark.parametrize("form", [textbook, lambda network: network], ids=["textbook", "fast"])


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Relative, in the 2-norm."""
    return ((ours.detach().double() - theirs).norm() / theirs.norm()).item()


def gradients(name: str, model: Trunk, reference: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Original name -> (our gradient, theirs); of some weights only the first channels are stored."""
    ours = {key: parameter.grad for key, parameter in model.named_parameters()}
    pairs = {}
    for key, tensor in reference.items():
        if key.startswith("gradient."):
            ((renamed, theirs),) = convert_original(name, {key.removeprefix("gradient."): tensor}).items()
            pairs[key] = (ours[renamed][: len(theirs)], theirs)
    return pairs


@FORMS
@pytest.mark.parametrize("dtype", [SINGLE, pytest.param(DOUBLE, marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize(
    ("name", "case"),
    [("restormer", 0), ("restormer", 1), ("tat", 0), ("tat", 1), ("tat", 2), ("amir", 0), ("amir", 1)],
)
def test_output(name, case, dtype, form, network, reference):
    model, tensors = form(network(name, dtype)), reference(name)
    with torch.inference_mode():
        output = model(tensors[f"input_{case}"].to(dtype))
    assert difference(output, tensors[f"output_{case}"]) < TOLERANCE[dtype]


def test_tat_generates_the_same_kernels(network, reference):
    model = network("tat", SINGLE)
    assert isinstance(model, TAT)
    generated = []
    handle = model.generator.register_forward_hook(lambda module, inputs, kernels: generated.append(kernels))
    with torch.inference_mode():
        model(reference("tat")["input_1"])
    handle.remove()
    attention, _ = generated[0]["latent"]
    assert difference(attention, reference("tat")["generated_attn_latent_1"]) < TOLERANCE[SINGLE]


@pytest.mark.parametrize("case", [0, 1])
def test_amir_gives_the_same_instruction(case, network, reference):
    model, tensors = network("amir", DOUBLE), reference("amir")
    assert isinstance(model, AMIR)
    with torch.inference_mode():
        instruction = model.instruction(tensors[f"input_{case}"].double())
    assert difference(instruction, tensors[f"instruction_{case}"]) < TOLERANCE[DOUBLE]


@FORMS
@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
def test_tat_gradients(dtype, form, network, reference):
    model, tensors = form(network("tat", dtype)), reference("tat")
    model.zero_grad()
    loss = (model(tensors["gradient_input"].to(dtype)) - tensors["gradient_target"].to(dtype)).abs().mean()
    loss.backward()
    assert difference(loss, tensors["gradient_loss"]) < TOLERANCE[dtype]
    pairs = gradients("tat", model, tensors)
    assert len(pairs) == 9
    for name, (ours, theirs) in pairs.items():
        assert difference(ours, theirs) < TOLERANCE[dtype], name


@FORMS
@pytest.mark.slow
def test_amir_training(form, network, reference, monkeypatch):
    """In training mode with router noise of zero: output, auxiliary loss, loss and gradients."""
    model, tensors = form(network("amir", DOUBLE)), reference("amir")
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    model.train().zero_grad()
    output = model(tensors["training_input"].double())
    loss = (output - tensors["training_target"].double()).abs().mean() + model.auxiliary_loss
    loss.backward()
    model.eval()
    assert difference(output, tensors["training_output"]) < 1e-7
    assert difference(1000 * model.auxiliary_loss, tensors["training_auxiliary"]) < 1e-7
    assert difference(loss, tensors["training_loss"]) < 1e-7
    pairs = gradients("amir", model, tensors)
    assert len(pairs) == 6
    for name, (ours, theirs) in pairs.items():
        assert difference(ours, theirs) < 1e-7, name


@pytest.mark.parametrize("name", ["restormer", "tat", "amir"])
def test_every_original_weight_has_a_place(name, original, network):
    converted = convert_original(name, {f"module.{key}": value for key, value in original(name).items()})
    ours = network(name, SINGLE).state_dict()
    assert {key: value.shape for key, value in converted.items()} == {key: value.shape for key, value in ours.items()}
