from fractions import Fraction

import pytest
import torch
from safetensors.torch import save_file

from medley.errors import MedleyError
from medley.models.multitask import load_backbone
from medley.models.resnet import Layers, ResNet, decoder_widths
from medley.models.zoo import create_model

TARGETS = {"dose": ("pixel", 1), "diagnosis": ("image", 3)}
SMALL = {"targets": TARGETS, "channels": 3, "width": 4, "blocks": (1, 1)}


def test_the_default_is_resnet_50():
    with torch.device("meta"):
        backbone = create_model("hps", targets=TARGETS, channels=3).encoder
    assert sum(p.numel() for p in backbone.parameters()) == 25_557_032 - (2048 * 1000 + 1000)  # less its classifier
    tensors = backbone.state_dict()
    assert len(tensors) == 318
    assert tensors["conv1.weight"].shape == (64, 3, 7, 7)
    assert tensors["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert tensors["layer4.2.conv2.weight"].shape == (512, 512, 3, 3)
    assert tensors["layer4.2.bn3.running_mean"].shape == (2048,)


@pytest.mark.parametrize(("stem", "finer"), [(1, []), (2, [(3, 32)]), (4, [(3, 32), (8, 16)])])
@pytest.mark.parametrize("dimension", [2, 3])
def test_each_level_is_half_as_fine_as_the_one_before(dimension, stem, finer):
    backbone = ResNet(Layers(dimension, "group"), 3, 8, 16, (1, 2, 1), 4, stem)
    features = backbone(torch.rand(1, 3, *[32] * dimension))
    side = 32 // stem
    assert [(t.shape[1], t.shape[-1]) for t in features.finer] == finer
    assert features.stem.shape == (1, 8, *[side] * dimension)
    assert [tuple(t.shape[1:3]) for t in features.stages] == [(32, side), (64, side // 2), (64, side // 4)]
    assert backbone.stride == stem * 4
    assert decoder_widths(backbone) == [8, 8, 8, 16][3 - len(finer) - 1 :]


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_channels_of_fresh_kernels_lie_last(dimension):
    kind = torch.channels_last if dimension == 2 else torch.channels_last_3d
    model = create_model("hps", **SMALL, dimension=dimension)
    kernels = [p for p in model.parameters() if p.ndim == 2 + dimension]
    assert kernels
    assert all(kernel.is_contiguous(memory_format=kind) for kernel in kernels)


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    """A ResNet's state dict as others write it: with a classifier."""
    torch.manual_seed(1)
    tensors = create_model("hps", **SMALL).encoder.state_dict()
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            tensors[name] = torch.rand(tensor.shape)
    return tensors | {"fc.weight": torch.rand(10, 32), "fc.bias": torch.rand(10)}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", ["stl", "hps", "mtan", "ctan"])
def test_a_backbone_starts_from_a_file(name, suffix, tensors, tmp_path):
    path = tmp_path / f"resnet{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(tensors, path)
    model = create_model(name, **(SMALL | ({"heads": 2} if name == "ctan" else {})))
    load_backbone(model, path)
    backbones = [part for part in model.modules() if isinstance(part, ResNet)]
    assert len(backbones) == (2 if name == "stl" else 1)
    for backbone in backbones:
        assert all(torch.equal(tensor, tensors[key]) for key, tensor in backbone.state_dict().items())


def test_older_files_do_not_count_batches(tensors, tmp_path):
    torch.save({k: t for k, t in tensors.items() if not k.endswith("num_batches_tracked")}, tmp_path / "old.pth")
    model = create_model("hps", **SMALL)
    load_backbone(model, tmp_path / "old.pth")
    assert torch.equal(model.encoder.conv1.weight, tensors["conv1.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 1}, r"conv1.weight has shape \(4, 3, 7, 7\) but the backbone has \(4, 1, 7, 7\)"),
        ({"stem": 2}, r"conv1.weight has shape \(4, 3, 7, 7\) but the backbone has \(4, 3, 3, 3\)"),
        ({"width": 8}, "conv1.weight has shape"),
        ({"blocks": (1, 2)}, "has no tensor 'layer2.1.conv1.weight'"),
        ({"blocks": (1,)}, "tensors that the backbone does not have, such as 'layer2.0.bn1.bias'"),
        ({"norm": "group"}, "tensors that the backbone does not have, such as 'bn1.num_batches_tracked'"),
        ({"dimension": 3}, "3-D network"),
    ],
)
def test_a_file_of_another_backbone(change, message, tensors, tmp_path):
    torch.save(tensors, tmp_path / "resnet.pth")
    model = create_model("hps", **(SMALL | change))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(MedleyError, match=message) as error:
        load_backbone(model, tmp_path / "resnet.pth")
    assert "resnet.pth" in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_restorers_have_no_backbone(tensors, tmp_path):
    torch.save(tensors, tmp_path / "resnet.pth")
    with pytest.raises(MedleyError, match="Restormer, which has no ResNet backbone"):
        load_backbone(create_model("restormer", dim=8), tmp_path / "resnet.pth")


def test_an_absent_file(tmp_path):
    with pytest.raises(MedleyError, match="there is no file"):
        load_backbone(create_model("hps", **SMALL), tmp_path / "absent.pth")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.pth", b"no weights at all", "cannot be read as a state dict"),
        ("empty.pth", b"", "cannot be read as a state dict"),
        ("text.safetensors", b"no weights at all", "cannot be read as a state dict"),
        ("object.pth", {"weight": Fraction(1)}, "cannot be read as a state dict"),
        ("list.pth", [1, 2], "is not a state dict"),
        ("whole.pth", {"epoch": 3, "state_dict": {}}, "is not a state dict"),
    ],
)
def test_a_file_that_is_something_else(name, content, message, tmp_path):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(MedleyError, match=message):
        load_backbone(create_model("hps", **SMALL), path)
