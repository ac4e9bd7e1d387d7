import numpy as np
import pytest
import torch

import medley
from medley.apps import _options
from medley.errors import MedleyError
from medley.metrics.image import score
from medley.models.precision import PRECISIONS, in_precision, to_bfloat16
from medley.models.zoo import create_model
from medley.normalisation import Normalisation
from medley.tasks import TASKS

TINY = {"dim": 8, "blocks": (1, 1, 1, 1), "refinement": 1}
FIRST_LEVEL = ("embed.", "encoder1.", "spatial1.", "guides", "memories")
DECIDE = ("temperature", "gate", "noise", "instruction.", ".instruct.")


def phantom(task: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three slices (slice, row, column) of discs on a slope in the task's window, and the same with noise."""
    low, high = TASKS[task].window
    row, column = np.mgrid[:90, :100] / 100
    rng = np.random.default_rng(seed)
    true = np.stack([0.2 + 0.2 * row + 0.1 * np.sin(12 * column + k) for k in range(3)])
    for y, x, radius, value in rng.uniform((0.2, 0.2, 0.03, -0.1), (0.8, 0.8, 0.15, 0.3), (8, 4)):
        true[:, np.hypot(row - y, column - x) < radius] += value
    noisy = true + rng.normal(0, 0.06, true.shape)
    return tuple((low + (high - low) * image).astype(np.float32) for image in (true, noisy))


@pytest.mark.parametrize("name", ["tat-tiny", "amir-tiny"])
@pytest.mark.parametrize("task", ["ct-denoise", "pet-denoise", "mr-sr"])
def test_psnr_stays(name, task):
    true, noisy = phantom(task)
    of = TASKS[task]
    span = Normalisation(*of.range, clip=not of.scaled)
    full, rounded = (
        medley.load(name, precision=precision).restore_slices(noisy, task, span) for precision in PRECISIONS
    )
    psnr = [score(answer, true, task, full_scale=span.high)["psnr"] for answer in (full, rounded)]
    assert psnr[1] == pytest.approx(psnr[0], abs=0.02)
    assert np.abs(rounded - full).max() > 0
    assert np.abs(rounded - full).max() < 0.1 * np.abs(full - noisy).max()


@pytest.mark.parametrize("name", ["tat", "amir", "restormer", "unih3"])
def test_the_first_level_and_what_decides_stay_in_float32(name):
    config = TINY | ({"generator_width": 4} if name == "tat" else {})
    model = create_model(name, **config)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    assert to_bfloat16(model) is model
    for key, parameter in model.named_parameters():
        stays = key.startswith(FIRST_LEVEL) or (
            not key.startswith("channel") and ".local." not in key and any(word in key for word in DECIDE)
        )
        assert parameter.dtype == (torch.float32 if stays else torch.bfloat16), key
        assert torch.equal(parameter, before[key].to(parameter.dtype)), key


@pytest.mark.parametrize("name", ["tat", "amir", "restormer", "unih3"])
@pytest.mark.parametrize("size", [(1, 16, 16), (3, 21, 34)])
def test_images_are_float32_and_nearly_the_same(name, size):
    torch.manual_seed(0)
    model = create_model(name, **TINY).eval()
    image = torch.rand(size[0], 1, *size[1:])
    with torch.inference_mode():
        full = model(image)
        rounded = in_precision(model, "bfloat16")(image)
    assert rounded.dtype == torch.float32
    assert (rounded - full).norm() < 0.05 * (full - image).norm()


def test_every_pixel_keeps_its_experts_at_the_first_level():
    _, noisy = phantom("ct-denoise")
    image = torch.from_numpy((noisy + 1024) / 4095)[:, None]
    chosen = []
    for precision in PRECISIONS:
        model = medley.load("amir-tiny", precision=precision)._model
        route = model.spatial1.route
        model.spatial1.route = lambda *inputs, route=route: chosen.append(route(*inputs)) or chosen[-1]
        with torch.inference_mode():
            model(image)
    assert torch.equal(chosen[0][0], chosen[1][0])


def test_float32_leaves_the_network_as_it_is_and_others_are_refused():
    model = create_model("restormer", **TINY)
    before = {name: parameter.clone() for name, parameter in model.state_dict().items()}
    assert in_precision(model, "float32") is model
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    with pytest.raises(MedleyError, match="must be float32 or bfloat16, but is 'float16'"):
        in_precision(model, "float16")
    with pytest.raises(MedleyError, match="can work in bfloat16, but this network is Linear"):
        in_precision(torch.nn.Linear(2, 2), "bfloat16")
    with pytest.raises(MedleyError, match="ctan-isic predicts, and networks that predict work in float32 only"):
        medley.load("ctan-isic", precision="bfloat16")


def test_the_command_line_knows_the_same_precisions():
    assert _options.PRECISIONS == PRECISIONS
