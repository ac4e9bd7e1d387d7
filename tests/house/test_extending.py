"""Every example of docs/extending.md works, in its order, from a data set to a restored scan."""

import re
import runpy
import shlex
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medley.apps.cli import main
from medley.data.store import Store
from medley.errors import MedleyError
from medley.inference.loading import load
from medley.models.weights import describe
from medley.models.zoo import NETWORKS
from medley.physics import create_degradation
from medley.runtime import plugins
from medley.runtime.registry import registered
from medley.scoring.rows import read_scores
from medley.training.loop import train
from medley.training.recipe import make_recipe

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text()
COMMANDS = [
    shlex.split(line)[1:] for line in re.sub(r"\\\n\s*", " ", PAGE).splitlines() if re.match("    medley [a-z]+ ", line)
]
WEIGHTS = Path("runs/my-network/my-network.safetensors")


def run(command):
    """The exit code of a command."""
    with pytest.raises(SystemExit) as left:
        main(command)
    return left.value.code


@pytest.fixture
def scans(examples):
    """CT of four patients, two of them for validation, in the layout of the page."""
    row, column = np.mgrid[:40, :36] / 40
    rng = np.random.default_rng(0)
    for patient in ("ann", "bob", "gus", "mia"):
        slices = [40 + 60 * np.sin(9 * row + shift) * np.cos(7 * column) for shift in rng.uniform(0, 3, 2)]
        slices = [np.where(np.hypot(row - 0.5, column - 0.45) < 0.4, one, -1000) for one in slices]
        folder = examples / "scans" / patient
        folder.mkdir(parents=True)
        image = nib.Nifti1Image(np.stack(slices, axis=-1).astype(np.int16), np.diag([-1.0, -1.0, 3.0, 1.0]))
        nib.save(image, folder / "ct.nii.gz")
    return examples


def test_the_page_has_an_example_of_everything(examples):
    assert [command[0] for command in COMMANDS] == ["prepare", "train", "evaluate", "restore", "compare", "report"]
    for name in ("layout", "task", "network", "predictor", "loss", "metric", "script"):
        assert (examples / f"my_{name}.py").is_file()
    assert (examples / "my-recipe.yaml").is_file()
    assert (examples / "my-comparison.yaml").is_file()


def test_from_a_data_set_to_a_restored_scan(scans, capsys, forget):
    for command in COMMANDS[:4]:
        forget()
        assert run(command) == 0, capsys.readouterr().err
    records = Store("stores/deblur").records()
    assert {(one.subject, one.task, one.degradation["name"]) for one in records} == {
        (patient, "ct-deblur", "ct-blur") for patient in ("ann", "bob", "gus", "mia")
    }
    about = describe(WEIGHTS)
    assert (about.architecture, about.config) == ("plain", {"width": 8, "layers": 3})
    assert [name.partition("#")[0] for name in about.training["recipe"]["plugins"]] == [
        "my_task.py", "my_network.py", "my_loss.py",
    ]  # fmt: skip
    assert about.training["recipe"]["loss"] == "charbonnier"
    rows, _ = read_scores("scores.csv")
    assert {(row.method, row.subject) for row in rows} == {
        (m, s) for m in ("input", "my-network") for s in ("gus", "mia")
    }
    assert all(row.values["edge-error"] > 0 and row.values["strength"] == 1.5 for row in rows)
    assert "edge error" in capsys.readouterr().out
    forget()
    better = runpy.run_path("my_script.py")["better"]
    restored = nib.load("restored.nii.gz").get_fdata()
    np.testing.assert_allclose(restored, better.data.transpose(2, 1, 0), atol=0.5)  # stored as integers
    assert not np.array_equal(restored, nib.load("scans/ann/ct.nii.gz").get_fdata())


def test_weights_never_run_the_plugin_that_they_name(scans, capsys, forget):
    for command in COMMANDS[:2]:
        assert run(command) == 0
    forget()
    with pytest.raises(MedleyError) as refused:
        load(WEIGHTS)
    assert str(refused.value) == (
        f"{WEIGHTS} needs the network plain and the task ct-deblur of a plugin, and was trained with my_task.py, "
        "my_network.py, my_loss.py: name it with --plugin FILE.py, or call medley.load_plugins"
    )
    assert (registered(), plugins._loaded) == (0, {})
    assert run(["restore", "scans/ann/ct.nii.gz", "-o", "out.nii.gz", "--model", str(WEIGHTS)]) == 1
    assert "name it with --plugin" in capsys.readouterr().err
    assert not Path("out.nii.gz").exists()


@pytest.mark.slow
def test_a_comparison_in_two_processes(scans, capsys, forget):
    assert run(COMMANDS[0]) == 0
    for command in COMMANDS[4:]:
        forget()
        assert run(command) == 0, capsys.readouterr().err
    rows, _ = read_scores("comparison.csv")
    assert {row.method for row in rows} == {"l1", "charbonnier"}
    assert all(row.values["edge-error"] > 0 for row in rows)
    assert "edge error" in Path("report/table.md").read_text()
    # The finished runs belong to the content of the plugins.
    with open("my_loss.py", "a") as file:
        file.write("# changed\n")
    forget()
    assert run([*COMMANDS[4], "--overwrite"]) == 1
    assert "plugins differ" in capsys.readouterr().err


def test_the_predictor_of_the_page_is_trained(examples, case_store):
    keys = {"plugins": ["my_predictor.py"], "name": "p", "model": "perceptron", "store": case_store.path}
    keys |= {"targets": ["segmentation", "diagnosis"], "output": "runs/p", "steps": 2, "accelerator": "cpu"}
    path = train(make_recipe(keys, "the recipe"))
    predictor = load(path)
    assert describe(path).architecture == "perceptron"
    assert set(predictor.description.tasks) == {"segmentation", "diagnosis"}
    assert NETWORKS["perceptron"].__name__ == "Perceptron"


def test_the_degradation_of_the_page_keeps_its_promises(examples):
    plugins.load_plugins(["my_task.py"])
    image = np.random.default_rng(0).normal(0, 100, (2, 20, 30)).astype(np.float32)
    blur = create_degradation("ct-blur", sigma=[0.5, 2.0])
    drawn = blur.draw(np.random.default_rng(1))
    assert 0.5 <= drawn["sigma"] <= 2.0
    blurred = blur.apply(image, drawn, (1.0, 2.0))
    np.testing.assert_array_equal(blurred[1:], blur.apply(image[1:], drawn, (1.0, 2.0), first_slice=1))
    np.testing.assert_array_equal(blur.apply(image, {**drawn, "sigma": 0.0}, (1.0, 1.0)), image)
    assert blurred.std() < image.std()
