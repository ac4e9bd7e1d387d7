import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from medley.data.store import Store
from medley.errors import MedleyError, MedleyNotice
from medley.experiments import compare as comparing
from medley.experiments.compare import compare, read_comparison, weights_of, weights_of_first_seed
from medley.models import weights
from medley.plots.panels import write_panels
from medley.scoring.rows import read_scores
from medley.training.recipe import read_yaml


@pytest.fixture
def content(case_store, tmp_path):
    return {
        "name": "discs",
        "output": str(tmp_path / "runs"),
        "baseline": "stl",
        "seeds": [0, 1],
        "split": "test",
        "recipe": {
            "store": str(case_store.path),
            "config": {"width": 4, "widest": 8, "blocks": [1, 1]},
            "steps": 2,
            "batch": 4,
            "accelerator": "cpu",
        },
        "methods": {"stl": {"model": "stl-tiny"}, "ctan": {"model": "ctan-tiny"}},
    }


@pytest.fixture
def restorers(small_store, tmp_path):
    tiny = {"dim": 8, "blocks": [1, 1, 1, 1], "refinement": 1, "generator_width": 16}
    return {
        "name": "restorers",
        "output": str(tmp_path / "runs"),
        "baseline": "all",
        "recipe": {
            "store": str(small_store.path),
            "tasks": ["ct-denoise", "pet-denoise"],
            "model": "tat-tiny",
            "config": tiny,
            "steps": 1,
            "patch": 32,
            "patches": 2,
            "accelerator": "cpu",
            "validation": {"slices": 1},
        },
        "methods": {"all": {}, "single": {"separate": True}},
    }


def test_one_row_a_method_seed_task_and_case_with_what_it_cost(content, case_store):
    rows = compare(*read_comparison(content, "it"))
    cases = {case.id: case for case in case_store.records("test")}
    expected = {
        (method, seed, task, case)
        for method in ("stl", "ctan")
        for seed in (0, 1)
        for case in cases
        for task in ("segmentation", *(("dose", "diagnosis") if case != "case-12" else ()))
    }
    assert {(row.method, row.seed, row.title, row.record) for row in rows} == expected
    assert len(rows) == len(expected)
    stl, ctan = (next(row for row in rows if row.method == name) for name in ("stl", "ctan"))
    assert stl.subject == cases[stl.record].subject
    assert stl.parameters != ctan.parameters
    assert stl.flops > 0
    assert set(next(row for row in rows if row.target == "diagnosis").values) == {"label", "p one", "p two"}


def test_finished_runs_are_kept_and_interrupted_ones_continue(content, monkeypatch):
    comparison, entrants = read_comparison(content, "it")
    before = compare(comparison, entrants[:3])  # seed 0, and the first method of seed 1
    trained = []
    real = comparing.train

    def watched(recipe, **keys):
        trained.append((recipe.name, recipe.seed, keys["resume"]))
        return real(recipe, **keys)

    monkeypatch.setattr(comparing, "train", watched)
    entrants[0].rows.unlink()  # scored anew, not trained anew
    after = compare(comparison, entrants)
    assert trained == [("ctan", 1, False)]
    assert after[: len(before)] == before
    trained.clear()
    weights_of(entrants[3].recipes[0]).unlink()  # its checkpoint is at the last step
    entrants[3].rows.unlink()
    assert compare(comparison, entrants) == after
    assert trained == [("ctan", 1, True)]


@pytest.mark.slow
def test_several_at_a_time_give_the_same(content, tmp_path):
    one = compare(*read_comparison(content, "it"))
    two = compare(*read_comparison({**content, "output": str(tmp_path / "two")}, "it"), jobs=2)
    for a, b in zip(one, two, strict=True):
        assert (a.method, a.seed, a.target, a.record, a.flops) == (b.method, b.seed, b.target, b.record, b.flops)
        assert a.values == pytest.approx(b.values, rel=1e-3, abs=1e-3)


def test_finished_runs_of_another_recipe_are_refused(content):
    compare(*read_comparison(content, "it"))
    content["recipe"]["batch"] = 2
    with pytest.raises(MedleyError, match="another recipe: batch differ"):
        compare(*read_comparison(content, "it"))


def test_finished_runs_of_an_older_medley_are_refused(content):
    comparison, entrants = read_comparison(content, "it")
    compare(comparison, entrants)
    path = weights_of(entrants[0].recipes[0])
    network, description = weights.load(path)
    recipe = {**description.training["recipe"], "optimiser": {"rate": 1e-3}}
    weights.save(path, network, replace(description, training={**description.training, "recipe": recipe}))
    with pytest.raises(MedleyError, match=r"made by an older medley, with other keys \(optimiser, optimiser.rate\)"):
        compare(comparison, entrants)


def test_another_split_is_scored_without_losing_the_first(content):
    test = compare(*read_comparison(content, "it"))
    valid = compare(*read_comparison({**content, "split": "valid"}, "it"))
    assert {row.subject for row in test}.isdisjoint(row.subject for row in valid)
    assert compare(*read_comparison(content, "it")) == test


def test_one_network_a_target_of_all_that_the_store_asks(content):
    content["methods"]["apart"] = {"model": "hps-tiny", "separate": True}
    _, entrants = read_comparison(content, "it")
    assert [recipe.targets for recipe in entrants[2].recipes] == [("dose",), ("segmentation",), ("diagnosis",)]


def test_restorers_all_in_one_against_one_a_task(restorers, small_store):
    comparison, entrants = read_comparison(restorers, "it")
    rows = compare(comparison, entrants)
    assert {(row.method, row.task) for row in rows} == {
        (method, task) for method in ("all", "single") for task in ("ct-denoise", "pet-denoise")
    }
    assert {"psnr", "ssim", "rmse", "slices"} <= set(rows[0].values)
    together, single = (next(row for row in rows if row.method == name) for name in ("all", "single"))
    assert single.parameters == 2 * together.parameters
    assert [weights.describe(weights_of(r)).tasks for r in entrants[1].recipes] == [("ct-denoise",), ("pet-denoise",)]
    written = panels(comparison, entrants, entrants[0].rows.parents[1] / "panels")
    assert [path.stem for path in written] == ["ct-denoise", "pet-denoise"]


def panels(comparison, entrants, folder):
    store = Store(entrants[0].recipes[0].store)
    return write_panels(store, comparison.split, weights_of_first_seed(comparison, entrants), folder)


def test_panels_show_truth_and_every_method(content, tmp_path):
    from PIL import Image

    comparison, entrants = read_comparison(content, "it")
    with pytest.raises(MedleyError, match="does not exist yet"):
        panels(comparison, entrants, tmp_path / "panels")
    compare(comparison, entrants)
    written = panels(comparison, entrants, tmp_path / "panels")
    assert [path.name for path in written] == ["dose.png", "dose-volume.png", "segmentation.png"]
    with Image.open(written[0]) as image:
        assert image.width > 3 * 300


def test_the_command_writes_a_table_that_the_report_reads(content, tmp_path):
    import yaml

    from medley.apps.compare import compare as command

    recipe = tmp_path / "compare-discs.yaml"
    recipe.write_text(yaml.safe_dump({**content, "seeds": [0]}))
    command(recipe, tmp_path / "discs.csv", settings=["recipe.steps=1"], quiet=True)
    rows, header = read_scores(tmp_path / "discs.csv")
    assert header["experiment"] == "discs"
    assert header["baseline"] == "stl"
    assert "segmentation" in header["task"]
    assert {row.method for row in rows} == {"stl", "ctan"}


RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("compare-*.yaml"))


def test_one_network_is_scored_as_in_a_comparison(content, case_store, small_store, tmp_path):
    from medley.apps.evaluate import evaluate

    comparison, entrants = read_comparison(content, "it")
    expected = compare(comparison, entrants[1:2])
    file = weights_of(entrants[1].recipes[0])
    evaluate([str(file)], case_store.path, tmp_path / "scores.csv", split="test", quiet=True)
    assert read_scores(tmp_path / "scores.csv")[0] == expected
    for models, keys, what in (
        ([], {}, "name the models"),
        (["tat-tiny"], {}, "contains records with other targets, but the outputs of tat-tiny are mr-sr"),
        ([str(file)], {"classical": True}, "are for restoration"),
    ):
        with pytest.raises(MedleyError, match=what):
            evaluate(models, case_store.path, tmp_path / "other.csv", **keys)
    with pytest.raises(MedleyError, match="medley predict"):
        evaluate([str(file)], small_store.path, tmp_path / "other.csv")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_comparison_of_the_house_can_be_read(path):
    comparison, entrants = read_comparison(read_yaml(path), str(path))
    assert len(entrants) == len(comparison.seeds) * len(comparison.methods)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"baseline": "hps"}, "the baseline hps is not one of the methods stl, ctan"),
        ({"seeds": []}, "seeds"),
        ({"methods": {"a/b": {"model": "stl-tiny"}}}, "the method .a/b. cannot be used as a file name"),
        ({"speed": 1}, "speed"),
        ({"methods": {"stl": {"model": "stl-tiny", "colour": 1}}}, "method stl: colour"),
        ({"methods": {"stl": {"model": "nothing"}}}, "method stl"),
    ],
)
def test_an_invalid_recipe_is_reported(content, change, what):
    with pytest.raises(MedleyError, match=what):
        read_comparison({**content, **change}, "it")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a\\b", "-x", "con", "a\n"])
def test_method_names_cannot_leave_the_output_folder(content, name):
    content["methods"][name] = {"model": "stl-tiny"}
    with pytest.raises(MedleyError, match="cannot be used as a file name"):
        read_comparison(content, "it")


def test_empty_splits_and_missing_tasks_are_refused_before_training(content, restorers, monkeypatch):
    monkeypatch.setattr(comparing, "train", lambda *args, **keys: pytest.fail("training started"))
    with monkeypatch.context() as patch:
        patch.setattr(comparing.Store, "records", lambda self, split=None, task=None: [])
        with pytest.raises(MedleyError, match="the split 'train' has no record of discs"):
            compare(*read_comparison(content, "it"))
    with pytest.raises(MedleyError, match="the split 'test' has no record of ct-denoise"):
        compare(*read_comparison({**restorers, "split": "test"}, "it"))
    restorers["recipe"]["tasks"] = ["ct-denoise", "mr-sr"]
    with pytest.raises(MedleyError, match="the split 'train' has no record of mr-sr"):
        compare(*read_comparison(restorers, "it"))


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
@pytest.mark.parametrize("file", ["scores", "weights"])
def test_a_run_with_damaged_files_is_done_again(content, file, damage):
    comparison, entrants = read_comparison({**content, "seeds": [0]}, "it")
    expected = compare(comparison, entrants)
    path = entrants[0].rows if file == "scores" else weights_of(entrants[0].recipes[0])
    whole = path.read_bytes()
    place = whole.index(b"stl,0") if file == "scores" else len(whole) - 3
    flipped = whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :]
    path.write_bytes({"cut": whole[: len(whole) // 2 + 1], "empty": b"", "flipped": flipped}[damage])
    with pytest.warns(MedleyNotice, match="is done again"):
        again = compare(comparison, entrants)
    assert again == expected


KILLED = """
from medley.experiments import compare

def work(one, threads):
    import os, time
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    list(compare._each_done([1, 2], work, 2))
"""


@pytest.mark.slow
def test_workers_end_with_a_killed_comparison(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        workers = [int(process.stdout.readline()) for _ in range(2)]
        process.kill()
        process.stdout.read()  # returns when no worker holds the pipe any more: all have ended
    assert process.returncode < 0
    assert len(set(workers)) == 2
