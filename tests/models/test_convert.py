import pytest
import torch

from medley.errors import MedleyError
from medley.models.convert import convert_original


def test_names_and_shapes_of_tat():
    converted = convert_original(
        "tat",
        {
            "patch_embed.proj.weight": torch.zeros(8, 1, 3, 3),
            "latent.0.attn.dw_kernel": torch.zeros(1, 192, 1, 3, 3),
            "latent.0.ffn.lambda_dw": torch.zeros(1, 340, 1, 1, 1),
            "decoder_level3.1.attn.qkv.weight": torch.zeros(96, 32, 1, 1),
            "up4_3.body.0.weight": torch.zeros(128, 64, 3, 3),
            "tren.kernel_level2_ffn.0.weight": torch.zeros(18, 16),
            "output.weight": torch.zeros(1, 8, 3, 3),
        },
    )
    assert {name: tuple(tensor.shape) for name, tensor in converted.items()} == {
        "embed.weight": (8, 1, 3, 3),
        "latent.0.attention.kernel.weight": (192, 1, 3, 3),
        "latent.0.feed_forward.kernel.strength": (340, 1, 1, 1),
        "decoder3.1.attention.qkv.weight": (96, 32),
        "up3.conv.weight": (128, 64, 3, 3),
        "generator.feed_forward.level2.weight": (18, 16),
        "output.3.weight": (1, 8, 3, 3),
    }


def test_values_are_kept():
    weight = torch.randn(6, 4, 1, 1)
    (converted,) = convert_original("restormer", {"encoder_level1.0.ffn.project_in.weight": weight}).values()
    assert torch.equal(converted, weight[:, :, 0, 0])


def test_amirs_constants_are_left_out():
    assert convert_original("amir", {"spatial_routing_encoder_level1.moe.mean": torch.zeros(1)}) == {}


@pytest.mark.parametrize("name", ["conv1.weight", "tren.E.0.weight", "embed.weight"])
def test_names_of_other_networks_are_refused(name):
    with pytest.raises(MedleyError, match=f"'{name}'.*another network"):
        convert_original("restormer", {name: torch.zeros(1)})


def test_unknown_network():
    with pytest.raises(MedleyError, match="restormer, tat, amir, not for 'unet'"):
        convert_original("unet", {})
