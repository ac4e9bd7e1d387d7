"""SlabNet: starts as the identity, uses neighbours and conditions, any size and batch, both forms equal."""

import pytest
import torch

from medley.models import export, precision, weights
from medley.models.cost import flops, parameters
from medley.models.fast import textbook
from medley.models.onnx_network import OnnxNetwork
from medley.models.slab import SlabNet, local_mean
from medley.models.zoo import create_model

SMALL = {"dim": 8, "blocks": (1, 1, 1, 2)}


def network(**config) -> SlabNet:
    """A small network in which every part has an effect: parameters that are initially zero are changed."""
    torch.manual_seed(0)
    model = create_model("slab", **(SMALL | config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def inputs(model: SlabNet, batch: int, height: int, width: int) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    return model.example(batch, height, width)


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_initially_the_output_is_the_slice_in_the_middle(reach):
    model = create_model("slab", **SMALL, reach=reach)
    slabs, conditions = inputs(model, 2, 21, 34)
    torch.testing.assert_close(model(slabs, conditions), slabs[:, reach : reach + 1], rtol=0, atol=0)


def test_without_measured_conditions_only_the_task_matters():
    model = network(measured=False)
    slabs, conditions = inputs(model, 2, 16, 24)
    other_numbers, other_task = conditions.clone(), conditions.clone()
    tasks = len(model.scales)
    other_numbers[:, tasks:] += 1
    other_task[:, :tasks] = other_task[:, :tasks].roll(1, dims=1)
    with torch.inference_mode():
        expected = model(slabs, conditions)
        torch.testing.assert_close(model(slabs, other_numbers), expected, rtol=0, atol=0)
        assert (model(slabs, other_task) - expected).abs().max() > 1e-4
        whole = network()
        assert (whole(slabs, other_numbers) - whole(slabs, conditions)).abs().max() > 1e-4


@pytest.mark.parametrize("size", [(16, 16), (17, 35), (57, 100)], ids=str)
def test_a_batch_gives_what_its_samples_give(size):
    model = network()
    slabs, conditions = inputs(model, 3, *size)
    with torch.inference_mode():
        together = model(slabs, conditions)
        alone = torch.cat([model(slabs[k : k + 1], conditions[k : k + 1]) for k in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert (together - slabs[:, 1:2]).abs().max() > 1e-3


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)], ids=str)
@pytest.mark.parametrize("size", [(1, 24, 40), (2, 33, 130)], ids=str)
def test_both_forms_give_the_same_output_and_gradients(size, dtype, tolerance):
    fast = network().to(dtype)
    plain = textbook(fast)
    given = [one.to(dtype) for one in inputs(fast, *size)]
    results = []
    for model in (plain, fast):
        model.zero_grad()
        output = model(*given)
        output.square().mean().backward()
        results.append((output.detach(), {name: one.grad.clone() for name, one in model.named_parameters()}))
    (expected, wanted), (found, gradients) = results
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    for name, gradient in wanted.items():
        difference = (gradients[name] - gradient).norm() / gradient.norm().clamp(min=1e-12)
        assert difference < 100 * tolerance, name
    with torch.inference_mode():
        torch.testing.assert_close(fast(*given), expected, rtol=10 * tolerance, atol=10 * tolerance)


def test_narrow_strips_give_the_same_output(monkeypatch):
    model = network()
    given = inputs(model, 1, 64, 48)
    with torch.inference_mode():
        expected = model(*given)
        monkeypatch.setattr("medley.models.fast._strips._STRIP", 1)
        torch.testing.assert_close(model(*given), expected, rtol=1e-5, atol=1e-5)


def test_every_input_has_an_effect():
    model = network()
    slabs, conditions = inputs(model, 1, 24, 24)
    slabs.requires_grad_()
    conditions.requires_grad_()
    model(slabs, conditions).square().sum().backward()
    assert (slabs.grad.abs().amax(dim=(0, 2, 3)) > 0).all()
    assert (conditions.grad.abs() > 0).all()


def test_recomputation_gives_the_same_gradients():
    gradients = []
    for again in (False, True):
        model = network()
        if again:
            model.recompute()
        model(*inputs(model, 2, 24, 24)).square().mean().backward()
        gradients.append(torch.cat([one.grad.flatten() for one in model.parameters()]))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (1, 3, 15, 64), (1, 5, 32, 32)], ids=str)
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected slabs \(B, 3, H, W\) of at least 16 pixels"):
        network()(torch.zeros(shape), torch.zeros(1, 8))


@pytest.mark.parametrize("change", [{"blocks": (1, 1)}, {"reach": -1}, {"tasks": {}}], ids=str)
def test_wrong_arguments_are_refused(change):
    with pytest.raises(ValueError, match=r"blocks is|expected reach"):
        SlabNet(**change)


def test_bfloat16_differs_little():
    model = network()
    given = inputs(model, 1, 40, 40)
    with torch.inference_mode():
        exact = model(*given)
        rounded = precision.in_precision(model, "bfloat16")(*given)
    assert rounded.dtype == torch.float32
    change = (exact - given[0][:, 1:2]).norm()
    assert 0 < (rounded - exact).norm() < 0.05 * change


@pytest.mark.parametrize("suffix", [".onnx", pytest.param(".pt2", marks=pytest.mark.slow)])
def test_an_exported_file_gives_the_same_output(tmp_path, suffix):
    model = network()
    path = tmp_path / f"slab{suffix}"
    description = weights.Description("small", "slab", model.config, ("ct-denoise",), {}, "0")
    assert export.write(path, model, description) < export.TOLERANCE
    if suffix == ".onnx":
        found = OnnxNetwork(path)
        assert found.config == {**model.config}
        given = inputs(model, 2, 41, 30)
        with torch.inference_mode():
            torch.testing.assert_close(found(*given), model(*given), rtol=1e-4, atol=1e-5)


def test_weights_are_loaded_into_an_equal_network(tmp_path):
    model = network(reach=2, tasks={"ct-denoise": 0.01})
    path = tmp_path / "w.safetensors"
    weights.save(path, model, weights.Description("w", "slab", model.config, ("ct-denoise",), {}, "0"))
    loaded, _ = weights.load(path)
    given = inputs(model, 1, 20, 20)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(*given), model(*given), rtol=0, atol=0)


def test_a_network_for_further_tasks_starts_with_the_same_output_for_those_it_shares():
    start = network(tasks={"mr-sr": 0.03, "ct-denoise": 0.003})
    wider = network(tasks={"us-denoise": 0.1, "ct-denoise": 0.003, "mr-sr": 0.03})
    wider.load_state_dict(wider.starting_tensors(start))
    slabs, conditions = inputs(start, 2, 24, 32)
    measured = conditions[:, 2:]
    for own, other in ([1, 0], [0, 0, 1]), ([0, 1], [0, 1, 0]):
        named = [torch.cat([torch.tensor([task] * 2), measured], dim=1) for task in (own, other)]
        with torch.inference_mode():
            torch.testing.assert_close(wider(slabs, named[1]), start(slabs, named[0]))


def test_size_and_cost_of_the_default():
    model = create_model("slab")
    assert parameters(model) == 1_466_561
    assert flops(model, (3, 512, 512)) == pytest.approx(26e9, rel=0.2)


def test_the_local_mean_is_the_mean_of_the_pixels_inside_the_image():
    image = torch.rand(1, 2, 9, 11, dtype=torch.float64)
    found = local_mean(image)
    torch.testing.assert_close(found[0, 1, 4, 5], image[0, 1, 2:7, 3:8].mean())
    torch.testing.assert_close(found[0, 0, 0, 10], image[0, 0, :3, 8:].mean())
