import pytest
import torch
from torch import nn

from medley.errors import MedleyError
from medley.models import weights
from medley.models.zoo import NETWORKS
from medley.training.loop import train
from medley.training.losses import LOSSES
from medley.training.recipe import RestorationRecipe


class Kernel(nn.Module):
    """A convolution, as a plugin may register it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, image):
        return self.layer(image)


@pytest.fixture
def recipe(small_store, tmp_path, forget):
    """Two steps of a registered network, into a new folder each time."""
    NETWORKS.register("kernel", Kernel)
    LOSSES.register("own", lambda restored, target, scales: (restored - target).abs().mean((1, 2, 3)))
    LOSSES.register("scalar", lambda restored, target, scales: (restored - target).abs().mean())

    def make(**keys):
        return RestorationRecipe(
            name="small", model="kernel", store=small_store.path, output=tmp_path / str(keys), steps=2, patch=16,
            tasks=("ct-denoise", "pet-denoise"), patches=2, accelerator="cpu", validation={"slices": 1}, **keys,
        )  # fmt: skip

    return make


def test_a_registered_loss_trains_like_the_same_loss_of_the_package(recipe):
    own, ours = (weights.load(train(recipe(loss=loss)))[0].state_dict() for loss in ("own", "l1"))
    for name, tensor in own.items():
        torch.testing.assert_close(tensor, ours[name], rtol=1e-6, atol=1e-7)


def test_a_loss_gives_one_value_for_each_sample(recipe):
    with pytest.raises(MedleyError, match=r"the loss scalar returned values of shape \(\); expected one for each"):
        train(recipe(loss="scalar"))


@pytest.mark.parametrize("key", ["identity_start", "recompute"])
def test_keys_that_need_a_network_of_the_package_are_refused(recipe, key):
    with pytest.raises(MedleyError, match="the network kernel is no RestorationNetwork, which identity_start and"):
        train(recipe(**{key: True}))


def test_the_loss_scaled_needs_a_network_that_states_scales(recipe):
    with pytest.raises(MedleyError, match="the loss scaled needs the scales of slab's tasks, which kernel has not"):
        train(recipe(loss="scaled"))
