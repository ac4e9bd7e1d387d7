"""`medley interference`: weights, checkpoints and steps of a run; sentences for wrong input."""

import csv

import pytest
import yaml

TINY = {"dim": 4, "blocks": [1, 1, 1, 1], "refinement": 1, "heads": [1, 1, 1, 1], "generator_width": 4}


@pytest.fixture
def recipe(small_store, tmp_path):
    path = tmp_path / "recipe.yaml"
    content = {
        "name": "few-steps", "model": "tat", "config": TINY, "store": str(small_store.path),
        "output": str(tmp_path / "run"), "tasks": ["ct-denoise", "pet-denoise"], "steps": 2, "patch": 16, "patches": 2,
        "balance": "tat", "accelerator": "cpu",
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content))
    return path


def rows(folder):
    lines = [line for line in (folder / "interference.csv").read_text().splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


def test_weights_a_checkpoint_and_steps_of_a_run(medley, recipe, model, tmp_path):
    assert medley("train", recipe, "-q").code == 0
    checkpoint, out = tmp_path / "run" / "last.ckpt", tmp_path / "out"
    command = ["interference", recipe, "-o", out, "--weights", model, "--weights", checkpoint, "--batches", 3]
    done = medley(*command, "--at", 0, "--at", 2, "--layers", "*", "--layers", "encoder1")
    assert done.code == 0
    assert {one.name for one in out.iterdir()} == {"interference.csv", "interference.png", "interference.html"}
    found = rows(out)
    assert len(found) == 4 * 2 * 4
    assert {(one["network"], one["step"]) for one in found} == {("tiny", "0"), ("few-steps", "0"), ("few-steps", "2")}
    assert all(float(one["interference"]) == 1 for one in found if one["task"] == one["other"])
    # The checkpoint of step 2 and step 2 of the same run in memory are the same network, on the same batches.
    of_checkpoint, of_run = found[8:16], found[24:]
    assert of_checkpoint == of_run
    page = (out / "interference.html").read_text()
    assert "data:image/png;base64," in page
    assert "pet-denoise" in done.out
    again = medley(*command)
    assert again.code == 1
    assert "exists already" in again.err
    assert rows(out) == found


def test_wrong_input_has_a_sentence(medley, recipe, predictors, tmp_path):
    out = tmp_path / "out"
    for options, sentence in (
        ([], "nothing to measure: give weights, or steps of the run"),
        (["--at", 3], "step 3 is not in a run of 2 steps; choose one from 0 to 2"),
        (["--weights", predictors["skin"]], "is a network of the kind ctan, but the recipe trains tat"),
        (["--weights", tmp_path / "no.ckpt"], "no.ckpt is missing"),
        (["--at", 0, "--layers", "decoder9"], "no shared parameter is called like 'decoder9'; the names begin with"),
        (["--at", 0, "--set", "tasks=[ct-denoise]"], "at least two tasks, but there is only ct-denoise"),
    ):
        done = medley("interference", recipe, "-o", out, "--batches", 1, *options)
        assert done.code == 1
        assert sentence in done.err
        assert not out.exists()


def test_targets_of_a_predictor(medley, case_store, tmp_path):
    path = tmp_path / "recipe.yaml"
    content = {
        "name": "cases", "model": "ctan-tiny", "config": {"width": 4, "widest": 8, "heads": 2},
        "store": str(case_store.path), "output": str(tmp_path / "run"), "steps": 2, "batch": 4, "accelerator": "cpu",
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content))
    assert medley("interference", path, "-o", tmp_path / "out", "--at", 1, "--batches", 2).code == 0
    found = rows(tmp_path / "out")
    assert {one["task"] for one in found} == {"dose", "segmentation", "diagnosis"}
    assert all(abs(float(one["cosine"])) <= 1 + 1e-9 for one in found)
    assert medley("train", path, "-q").code == 0
    weights = ["--weights", tmp_path / "run" / "cases.safetensors", "--batches", 1]
    assert medley("interference", path, "-o", tmp_path / "two", *weights).code == 0
    other = medley("interference", path, "-o", tmp_path / "three", *weights, "--set", "inputs=[image, region]")
    assert other.code == 1
    assert "has the inputs image, but the recipe image, region" in other.err
