"""`medley adapt`: exit codes, what is written, and messages. What it does is tested in tests/experiments."""

import nibabel
import numpy as np
import pytest
import torch

from medley.experiments import adapt as adapting
from medley.models import weights
from medley.models.zoo import create_model
from medley.runtime.plugins import load_plugins

SMALL = {"dim": 4, "blocks": (1, 1, 1, 1), "decoder": (1, 1, 1)}
PLUGIN = """
from medley.models.zoo import NETWORKS, Variant

NETWORKS.register("thin-slab", Variant("slab", {"dim": 4, "blocks": (1, 1, 1, 1), "decoder": (1, 1, 1)}))
"""


@pytest.fixture
def scans(tmp_path):
    """Three CT scans of 3 x 36 x 32 voxels, of three subjects."""
    row, column = np.mgrid[:36, :32]
    for k in range(3):
        body = np.where(np.hypot(row - 18, column - 14 - k) < 12, 30.0 * k, -1000)
        stack = body + np.random.default_rng(k).normal(0, 4, (3, 36, 32))
        path = tmp_path / "scans" / "ct" / f"{k}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(stack.T.astype(np.float32), np.diag([1.5, 1.5, 3, 1])), path)
    return tmp_path / "scans"


def save_start(path, pattern, name="slab", **config):
    """Weights of a small network that adds a pattern of a certain strength to its input."""
    torch.manual_seed(0)
    model = create_model(name, **config)
    with torch.no_grad():
        model.output.weight.normal_(0, pattern)
    training = {"recipe": {"patch": 32, "patches": 2, "loss": "scaled"}}
    weights.save(path, model, weights.Description("start", name, model.config, ("ct-denoise",), training, "0"))
    return path


@pytest.fixture
def start(tmp_path, step_of_50_ms):
    """Weights with much to learn."""
    return save_start(tmp_path / "start.safetensors", 0.5, **SMALL)


@pytest.fixture
def step_of_50_ms(monkeypatch):
    """A step takes 50 ms, as if measured."""
    monkeypatch.setattr(adapting, "step_seconds", lambda recipes, work: dict.fromkeys(recipes, 0.05))


def test_better_weights_are_written_with_a_card(medley, scans, start, tmp_path):
    output = tmp_path / "ours.safetensors"
    done = medley("adapt", scans, "-o", output, "--model", start, "--minutes", 40 * 0.05 / 60)
    assert done.code == 0, done.err
    assert "better" in done.out
    assert "Yes, in ct-denoise." in done.err
    assert weights.describe(output).tasks == ("ct-denoise",)
    card = output.with_suffix(".md").read_text()
    assert card.startswith("# ours\n")
    assert card == (tmp_path / "ours-work" / "card.md").read_text()
    scan, result = scans / "ct" / "0.nii.gz", tmp_path / "result.nii.gz"
    restored = medley("restore", scan, "-o", result, "--model", output, "-t", "ct-denoise")
    assert restored.code == 0, restored.err
    before = output.read_bytes()
    again = medley("adapt", scans, "-o", output, "--model", start)
    assert again.code == 1
    assert "exists already" in again.err
    assert output.read_bytes() == before


def test_weights_that_are_not_better_are_not_written(medley, scans, start, tmp_path, monkeypatch):
    save_start(start, 0.0, **SMALL)  # the output is the input
    for name in ("learning_rate", "final_learning_rate"):  # nothing is learnt
        monkeypatch.setitem(adapting._OPTIMIZER, name, 1e-12)
    output = tmp_path / "ours.safetensors"
    done = medley("adapt", scans, "-o", output, "--model", start, "--minutes", 40 * 0.05 / 60)
    assert done.code == 4
    assert "Keep using start" in done.err
    assert not output.exists()
    assert not output.with_suffix(".md").exists()
    assert "**No.**" in (tmp_path / "ours-work" / "card.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "{tmp}/ours.pt"], "end in .safetensors"),
        (["-o", "{tmp}/ours.safetensors", "--exclude", "ct/[12]*"], "too few subjects"),
        (["-o", "{tmp}/scans/ours.safetensors"], "inputs are never changed"),
        (["-o", "{tmp}/ours.safetensors", "--work", "{tmp}/scans/work"], "inputs are never changed"),
        (["-o", "{tmp}/ours.safetensors", "--model", "slap"], "did you mean 'slab'?"),
    ],
)
def test_wrong_requests_are_refused_in_a_sentence(medley, scans, start, tmp_path, options, message):
    given = [one.format(tmp=tmp_path) for one in options]
    done = medley("adapt", scans, *([] if "--model" in given else ["--model", start]), *given)
    assert done.code == 1
    assert message in done.err
    assert not list(tmp_path.rglob("ours.*"))


def test_a_network_of_a_plugin_is_adapted(medley, scans, step_of_50_ms, forget, tmp_path):
    plugin, output = tmp_path / "thin.py", tmp_path / "ours.safetensors"
    plugin.write_text(PLUGIN)
    (named,) = load_plugins([plugin])
    start = save_start(tmp_path / "start.safetensors", 0.5, "thin-slab")
    options = ["-o", output, "--model", start, "--minutes", 40 * 0.05 / 60, "--plugin", plugin]
    done = medley("adapt", scans, *options)
    assert done.code == 0, done.err
    assert weights.describe(output).training["recipe"]["plugins"] == [named]


def test_damaged_weights_are_refused(medley, scans, start, tmp_path):
    content = bytearray(start.read_bytes())
    content[-5] ^= 1
    start.write_bytes(content)
    done = medley("adapt", scans, "-o", tmp_path / "ours.safetensors", "--model", start)
    assert done.code == 1
    assert "is damaged" in done.err
    assert not (tmp_path / "ours-work").exists()
