"""Properties of every restorer: any size, any batch, finite gradients, created again from its `.config`."""

import copy

import pytest
import torch

from medley.models.blocks import ResidualNetwork
from medley.models.fast import _strips, textbook
from medley.models.tat import TAT
from medley.models.zoo import create_model

SMALL = {"dim": 8, "blocks": (1, 1, 1, 1), "refinement": 1}
NETWORKS = ["restormer", "tat", "amir", "unih3"]


def network(name: str, **config) -> ResidualNetwork:
    """A small network in which every part has an effect: parameters that are initially zero are changed."""
    torch.manual_seed(0)
    extra = {"generator_width": 4, "window": 48} if name == "tat" else {}
    model = create_model(name, **(SMALL | extra | config))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith(("strength", "gamma", "beta", "noise", "temperature", "bias")):
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [(16, 16), (17, 35), (40, 24), (57, 100)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_gives_what_its_samples_give(name, size):
    model, batch = network(name), images(3, 1, *size)
    with torch.inference_mode():
        together = model(batch)
        alone = torch.cat([model(sample) for sample in batch.split(1)])
    assert together.shape == batch.shape
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert (together - batch).abs().max() > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_odd_sides_are_padded_by_reflection(name):
    model, image = network(name), images(1, 1, 21, 30)
    padded = torch.nn.functional.pad(image, (0, 2, 0, 3), mode="reflect")
    with torch.inference_mode():
        torch.testing.assert_close(model(image), model(padded)[:, :, :21, :30])


@pytest.mark.parametrize("shape", [(1, 1, 15, 64), (1, 3, 32, 32), (1, 32, 32)], ids=str)
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="at least 16 pixels"):
        network("restormer")(torch.zeros(shape))


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("kind", ["random", "blank", "huge"])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_finite(name, kind, bfloat16):
    torch.manual_seed(0)
    model = create_model(name, **SMALL).train()  # initial weights: norms without bias, strengths of zero
    image = {"random": images(2, 1, 32, 32), "blank": torch.zeros(2, 1, 32, 32), "huge": 1e4 * images(2, 1, 32, 32)}[
        kind
    ]
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        restored = model(image)
    loss = (restored.float() - images(2, 1, 32, 32)).abs().mean()
    auxiliary = getattr(model, "auxiliary_loss", None)
    (loss if auxiliary is None else loss + auxiliary).backward()
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:  # the store of UniH3
            continue
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_is_near_float32(name):
    model, image = network(name), images(2, 1, 32, 40)
    with torch.inference_mode():
        exact = model(image) - image
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(image).float() - image
    assert (rounded - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("name", NETWORKS)
def test_config_makes_the_network_again(name):
    model = network(name)
    again = create_model(name, **model.config)
    again.load_state_dict(model.state_dict())
    assert again.config == model.config
    image = images(1, 1, 24, 24)
    with torch.inference_mode():
        torch.testing.assert_close(again.eval()(image), model(image), rtol=0, atol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_can_be_copied_while_it_is_trained(name):
    model = network(name).train()
    model(images(1, 1, 16, 16)).sum().backward()
    twin = copy.deepcopy(model)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_tat_generates_different_kernels_for_different_samples():
    model = network("tat")
    assert isinstance(model, TAT)
    kernels = model.generator(torch.randn(2, 64, 4, 4))
    assert kernels.keys() == {"latent", "level3", "level2", "level1"}
    attention, feed_forward = kernels["level2"]
    assert attention.shape == (2, 48, 1, 3, 3)
    assert feed_forward.shape == (2, 2 * int(16 * 2.66), 1, 3, 3)
    assert not torch.allclose(attention[0], attention[1])


def test_tat_without_generated_kernels_is_tat_with_strengths_of_zero():
    whole, plain = network("tat"), network("tat", adaptive=False)
    with torch.no_grad():
        for name, parameter in whole.named_parameters():
            if name.endswith("strength"):
                parameter.zero_()
    kept = {
        name: one
        for name, one in whole.state_dict().items()
        if not name.startswith("generator.") and not name.endswith("strength")
    }
    plain.load_state_dict(kept)
    image = images(2, 1, 56, 24)
    with torch.inference_mode():
        torch.testing.assert_close(plain(image), whole(image), rtol=1e-5, atol=1e-5)


def test_tat_attention_is_local_above_the_window():
    model, wider = network("tat", window=48), network("tat", window=96)
    wider.load_state_dict(model.state_dict())
    small, large = images(1, 1, 48, 48), images(1, 1, 48, 56)
    with torch.inference_mode():
        torch.testing.assert_close(model(small), wider(small))
        assert not torch.allclose(model(large), wider(large))


@pytest.mark.parametrize("name", NETWORKS)
def test_strips_without_gradients_give_the_same(name, monkeypatch):
    """Windows, strips and odd sizes at once."""
    monkeypatch.setattr(_strips, "_STRIP", 1)  # bytes: as few rows as possible
    model, image = network(name).eval(), torch.rand(2, 1, 61, 42)
    whole = model(image).detach()
    with torch.no_grad():
        strips = model(image)
    torch.testing.assert_close(strips, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("form", [textbook, lambda model: model], ids=["textbook", "fast"])
def test_recomputing_gives_the_same_gradients_and_stores_less(name, form):
    found, kept = [], []
    for recompute in (False, True):
        model, bytes_kept = form(network(name, blocks=(2, 2, 2, 2))), []
        if recompute:
            model.recompute()

        def pack(tensor, bytes_kept=bytes_kept):
            bytes_kept.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            answer = model(images(2, 1, 40, 32))
        kept.append(sum(bytes_kept))
        answer.square().sum().backward()
        found.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert kept[1] < kept[0] / 2
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(
            got, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()) if expected is not None else 0
        )
