import pytest
import torch

from medley.errors import MedleyError
from medley.models.convert import config_of, convert_original


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


def test_names_and_shapes_of_unih3():
    converted = convert_original(
        "unih3",
        {
            "IR_Model.patch_embed_2.body.1.weight": torch.zeros(16, 4, 3, 3),
            "IR_Model.hq_prompt_1.memory": torch.zeros(4, 5, 8),
            "IR_Model.hq_prompt_1.memory_hq": torch.zeros(4, 5, 8),
            "IR_Model.hq_prompt_4.memory_hq_initialized": torch.zeros(4, dtype=torch.bool),
            "IR_Model.hq_prompt_3.temperature": torch.zeros(1, 4, 1, 1),
            "IR_Model.hq_prompt_3.gamma": torch.zeros(1, 1, 32),
            "IR_Model.latent.block_list.0.global_att.gamma": torch.zeros(1, 64, 1, 1),
            "IR_Model.refinement.block_list.1.local_conv.ca.1.weight": torch.zeros(2, 8, 1, 1),
            "IR_Model.decoder_level1.block_list.0.ffn2.dwconv.weight": torch.zeros(42, 1, 3, 3),
            "IR_Model.reduce_refinement.weight": torch.zeros(8, 24, 1, 1),
            "UW_loss.uw_estimator.task_embed": torch.zeros(3),
        },
    )
    assert {name: tuple(tensor.shape) for name, tensor in converted.items()} == {
        "guides.1.conv.weight": (16, 4, 3, 3),
        "memories.0.prototypes": (4, 5, 8),
        "memories.0.store": (4, 5, 8),
        "memories.3.filled": (4,),
        "memories.2.temperature": (4, 1, 1),
        "memories.2.gamma": (32,),
        "latent.0.attention.gamma": (64, 1, 1),
        "refinement.1.local.gate.0.weight": (2, 8),
        "decoder1.0.feed_forward2.kernel.weight": (42, 1, 3, 3),
        "output.0.weight": (8, 24),
    }
    assert config_of("unih3", converted) == {"tasks": ["pet-denoise", "ct-denoise", "mr-sr"], "slots": 5}


def test_of_a_state_of_ema_pytorch_the_averaged_weights_are_taken_and_the_flags_of_training():
    weight, flags = "IR_Model.input_embed.weight", "IR_Model.hq_prompt_2.memory_hq_initialized"
    converted = convert_original(
        "unih3",
        {
            "initted": torch.tensor(True),
            "step": torch.tensor(7),
            f"online_model.{weight}": torch.zeros(8, 1, 3, 3),
            f"online_model.{flags}": torch.tensor([True, False]),
            f"ema_model.{weight}": torch.ones(8, 1, 3, 3),
            f"ema_model.{flags}": torch.tensor([False, False]),
        },
    )
    assert converted.keys() == {"embed.weight", "memories.1.filled"}
    assert converted["embed.weight"].min() == 1
    assert converted["memories.1.filled"].tolist() == [True, False]


def test_other_networks_have_their_configuration_from_the_user():
    assert config_of("tat", {"memories.0.prototypes": torch.zeros(4, 5, 8)}) == {}


@pytest.mark.parametrize("name", ["conv1.weight", "tren.E.0.weight", "embed.weight"])
def test_names_of_other_networks_are_refused(name):
    with pytest.raises(MedleyError, match=f"'{name}'.*another network"):
        convert_original("restormer", {name: torch.zeros(1)})


def test_unknown_network():
    with pytest.raises(MedleyError, match="restormer, tat, amir, unih3, not for 'unet'"):
        convert_original("unet", {})
