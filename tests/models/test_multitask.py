"""What holds for STL, HPS, MTAN and CTAN: the laws of sharing, sizes, batches, dimensions, round trips."""

import json

import pytest
import torch
from torch import Tensor, nn

from medley.models import weights
from medley.models.weights import Description
from medley.models.zoo import create_model

NETWORKS = ["stl", "hps", "mtan", "ctan"]
TARGETS = {"dose": ("pixel", 1), "segmentation": ("pixel", 3), "diagnosis": ("image", 2)}
SMALL = {"width": 4, "blocks": (1, 2, 1), "stem": 2, "channels": 2}


def network(name: str, targets=TARGETS, **config) -> nn.Module:
    """A small network, in evaluation mode, whose norms do something."""
    torch.manual_seed(0)
    extra = {"heads": 2} if name == "ctan" else {}
    model = create_model(name, targets=targets, **(SMALL | extra | config))
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif key.endswith(("running_mean", "bias")):
                tensor.normal_(std=0.2)
        for key, parameter in model.named_parameters():
            if "answer.weight" in key:
                parameter.mul_(30)  # starts near zero on purpose; here differences shall show
    return model.eval()


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def same(one: dict[str, Tensor], other: dict[str, Tensor], **tolerance: float) -> None:
    assert list(one) == list(other)
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=lambda m, name=name: f"{name}: {m}", **tolerance)


@pytest.mark.parametrize("stem", [1, 2, 4])
@pytest.mark.parametrize("size", [(16, 16), (17, 35), (16, 18, 21)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_have_the_size_of_the_input(name, size, stem):
    model = network(name, dimension=len(size), stem=stem)
    with torch.inference_mode():
        answers = model(images(2, 2, *size))
    assert {key: tuple(answer.shape) for key, answer in answers.items()} == {
        "dose": (2, 1, *size),
        "segmentation": (2, 3, *size),
        "diagnosis": (2, 2),
    }
    assert list(answers) == list(TARGETS)


@pytest.mark.parametrize("name", NETWORKS)
def test_padding_repeats_the_border(name):
    model, image = network(name), images(1, 2, 21, 30)
    padded = torch.nn.functional.pad(image, (0, 2, 0, 3), mode="replicate")
    with torch.inference_mode():
        alone, whole = model(image), model(padded)
    torch.testing.assert_close(alone["dose"], whole["dose"][..., :21, :30])
    torch.testing.assert_close(alone["diagnosis"], whole["diagnosis"])


@pytest.mark.parametrize("shape", [(1, 2, 15, 32), (1, 1, 32, 32), (1, 2, 32), (1, 2, 16, 16, 16)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_other_shapes_are_refused(name, shape):
    with pytest.raises(ValueError, match=r"expected \(B, 2, \*spatial\) with 2 spatial axes of at least 16"):
        network(name)(torch.zeros(shape))


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_gives_what_its_samples_give(name, norm):
    model, batch = network(name, norm=norm), images(3, 2, 24, 16)
    with torch.inference_mode():
        together = model(batch)
        alone = [model(sample) for sample in batch.split(1)]
    same(together, {key: torch.cat([one[key] for one in alone]) for key in together}, rtol=1e-4, atol=1e-4)
    assert all((answer[0] - answer[1]).abs().max() > 1e-3 for answer in together.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_group_norm_knows_no_batch_in_training_either(name):
    model, batch = network(name, norm="group").train(), images(2, 2, 16, 16)
    same({key: answer[:1] for key, answer in model(batch).items()}, model(batch[:1]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stem", [2, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_3d_is_2d_where_nothing_changes_from_slice_to_slice(name, stem):
    # Kernels that look at one slice only, on a scan whose slices are all alike: every slice must get the 2-D answer.
    flat, deep = network(name, stem=stem), network(name, stem=stem, dimension=3)
    tensors = deep.state_dict()
    for key, tensor in flat.state_dict().items():
        if tensor.ndim == 4:
            kernel = tensors[key].zero_()
            kernel[:, :, kernel.shape[2] // 2] = tensor
        else:
            tensors[key].copy_(tensor)
    image = images(1, 2, 20, 32)
    with torch.inference_mode():
        in_2d, in_3d = flat(image), deep(image[:, :, None].expand(-1, -1, 18, -1, -1))
    for key, answer in in_2d.items():
        expected = answer if answer.ndim == 2 else answer[:, :, None].expand(-1, -1, 18, -1, -1)
        torch.testing.assert_close(in_3d[key], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_permuting_the_targets_permutes_the_answers(name):
    model = network(name)
    permuted = network(name, targets={key: TARGETS[key] for key in ("diagnosis", "dose", "segmentation")})
    permuted.load_state_dict(model.state_dict())  # by name
    image = images(2, 2, 16, 24)
    with torch.inference_mode():
        answers, again = model(image), permuted(image)
    assert list(again) == ["diagnosis", "dose", "segmentation"]
    same(answers, {key: again[key] for key in answers}, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [*NETWORKS, "ctan, cut"])
@pytest.mark.parametrize("targets", [TARGETS, {"dose": ("pixel", 1)}], ids=["three targets", "one target"])
def test_shared_parameters_are_those_of_several_targets(name, targets):
    model = network("ctan", targets, cross=False) if "cut" in name else network(name, targets)
    named = dict(model.named_parameters())
    answers = model(images(2, 2, 16, 16))
    serves = dict.fromkeys(named, 0)
    for answer in answers.values():
        gradients = torch.autograd.grad(
            (answer * torch.randn_like(answer)).sum(), [*named.values()], retain_graph=True, allow_unused=True
        )
        for key, gradient in zip(named, gradients, strict=True):
            serves[key] += gradient is not None and bool(gradient.any())
    assert min(serves.values()) == 1, f"without use: {[key for key, times in serves.items() if not times]}"
    shared = {id(parameter) for parameter in model.shared_parameters()}
    assert len(shared) == len(model.shared_parameters())
    assert {key for key, times in serves.items() if times > 1} == {k for k, p in named.items() if id(p) in shared}


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_reach_every_parameter(name, dimension, bfloat16):
    model = network(name, dimension=dimension).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        answers = model(images(3, 2, *(24, 16, 16)[:dimension]))
    sum((answer.float() * torch.randn_like(answer)).sum() for answer in answers.values()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_are_at_least_single_precision_under_autocast(name):
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert network(name)(images(1, 2, 16, 16))["dose"].dtype == torch.float32


@pytest.mark.parametrize("name", NETWORKS)
def test_initial_outputs_are_small(name):
    torch.manual_seed(0)
    model = create_model(name + "-tiny", targets=TARGETS, channels=2)
    with torch.no_grad():
        answers = model(images(4, 2, 32, 32))
    assert all(answers[key].abs().max() < 0.3 for key in ("dose", "segmentation"))


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_round_trip(name, tmp_path):
    model = network(name, dimension=3).train()
    model(images(2, 2, 16, 16, 16))  # moves the running statistics and their counters
    description = Description("x", name, model.config, tuple(TARGETS), {"steps": 1}, "0", {"name": "x"}, ("image", "a"))
    weights.save(tmp_path / "x.safetensors", model, description)
    before = torch.get_rng_state()
    again, told = weights.load(tmp_path / "x.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    assert told == description
    tensors = again.state_dict()
    assert any(key.endswith("num_batches_tracked") and tensor == 1 for key, tensor in tensors.items())
    assert all(torch.equal(tensor, tensors[key]) for key, tensor in model.state_dict().items())
    image = images(1, 2, 16, 16, 16)
    with torch.inference_mode():
        same(again(image), model.eval()(image), rtol=0, atol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_config_makes_the_same_network_again(name):
    model = network(name, norm="group", widest=8, expansion=2)
    config = json.loads(json.dumps(model.config))
    assert config == model.config
    again = create_model(name, **config)
    again.load_state_dict(model.state_dict())
    assert again.config == model.config


def test_single_task_networks_share_nothing():
    model, image = network("stl"), images(1, 2, 16, 16)
    with torch.inference_mode():
        before = model(image)
        for parameter in model.networks["segmentation"].parameters():
            parameter.add_(1)
        after = model(image)
    assert torch.equal(before["dose"], after["dose"])
    assert torch.equal(before["diagnosis"], after["diagnosis"])
    assert not torch.equal(before["segmentation"], after["segmentation"])
    assert model.shared_parameters() == []


def test_a_single_task_network_is_hard_sharing_with_one_target():
    stl, image = network("stl"), images(1, 2, 16, 16)
    hps = network("hps", {"dose": TARGETS["dose"]})
    hps.load_state_dict(stl.networks["dose"].state_dict())
    with torch.inference_mode():
        assert torch.equal(stl(image)["dose"], hps(image)["dose"])
