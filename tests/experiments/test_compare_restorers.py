"""Comparisons of restorers: variants, equal time, the command with its report, and the recipe of the house."""

import json
import re
from pathlib import Path

import pytest

from medley.apps.compare import compare as command
from medley.apps.report_scores import read_experiments, report
from medley.errors import MedleyError
from medley.experiments import compare as comparing
from medley.experiments import step_time
from medley.experiments.compare import compare, read_comparison
from medley.experiments.report_tables import tables, variant_tables
from medley.models.cost import parameters
from medley.models.zoo import create_model
from medley.scoring.rows import read_scores
from medley.training.recipe import read_yaml

RECIPE = Path(__file__).parents[2] / "recipes" / "compare-restorers.yaml"
TINY = {"dim": 8, "blocks": [1, 1, 1, 1], "refinement": 1}


@pytest.fixture
def content(small_store, tmp_path):
    """The methods of the recipe, in a smaller size and on two tasks."""
    sizes = {
        "restormer": TINY,
        "amir": TINY,
        "tat": {**TINY, "generator_width": 4},
        "unih3": {**TINY, "slots": 8},
        "slab": {"dim": 8, "blocks": [1, 1, 1, 1]},
    }
    found = read_yaml(RECIPE)
    found |= {"output": str(tmp_path / "runs"), "seeds": [0]}
    found["recipe"] |= {"store": str(small_store.path), "tasks": ["ct-denoise", "pet-denoise"], "accelerator": "cpu"}
    found["recipe"] |= {"steps": 1, "patch": 32, "patches": 2, "validation": {"slices": 1}}
    for name, size in sizes.items():
        found["methods"][name] |= {"config": size}
    return found


def some(content, *names, **changes):
    """The comparison with some of its methods."""
    return {**content, "methods": {name: content["methods"][name] for name in names}, **changes}


def test_from_the_recipe_to_the_report(content, tmp_path):
    recipe, table = tmp_path / "compare.yaml", tmp_path / "restorers.csv"
    recipe.write_text(json.dumps(content))
    command(recipe, table, panels=tmp_path / "panels", quiet=True)
    assert sorted(path.name for path in (tmp_path / "panels").iterdir()) == ["ct-denoise.png", "pet-denoise.png"]
    rows, header = read_scores(table)
    assert header["equal"] == "steps"
    assert {(row.method, row.task) for row in rows} == {
        (method, task) for method in content["methods"] for task in ("ct-denoise", "pet-denoise")
    }
    assert all({"psnr", "ssim", "rmse", "slices"} <= set(row.values) for row in rows)
    of = {row.method: row for row in rows}
    for name in ("amir", "tat", "slab"):
        whole, single = of[name], of[f"{name}-single"]
        assert (single.parameters, single.step) == (2 * whole.parameters, 2 * whole.step)
        assert single.flops == whole.flops > 0  # a slice goes through one of the two networks
    report([table], tmp_path / "report", quiet=True)
    page = (tmp_path / "report" / "report.html").read_text()
    text = (tmp_path / "report" / "table.md").read_text()
    assert "Variants: PSNR (dB)" in page
    assert "| method | parameters | GFLOPs | steps | training | seeds | Δ over restormer, % |" in text
    assert "## Variants: RMSE" in text
    (experiment,) = read_experiments([table])
    shown = variant_tables(experiment.variants)[0]
    pairs = {(cells[0].text, cells[1].text) for cells in shown.rows}
    assert pairs == {(m, t) for m in content["methods"] if "-" in m for t in ("ct-denoise", "pet-denoise")}
    tat = next(cells for cells in tables(experiment.comparison)[1].rows if cells[0].text == "tat")
    beside = next(cells for cells in shown.rows if cells[0].text == "tat-single" and cells[1].text == "ct-denoise")
    assert tables(experiment.comparison)[1].task == "ct-denoise"
    assert beside[2].text == tat[1].text  # the score of the original, as in its own table


def test_a_variant_has_the_keys_of_its_method_except_its_own(content):
    comparison, _ = read_comparison(content, "it")
    assert comparison.variants["tat-fixed-kernels"] == "tat"
    keys = comparison.keys_of("tat-fixed-kernels")
    assert keys["config"] == {**content["methods"]["tat"]["config"], "adaptive": False}
    assert keys["balance"] == "tat"
    assert comparison.keys_of("tat-unbalanced") == {**comparison.keys_of("tat"), "balance": "equal"}
    single = comparison.keys_of("slab-single")
    assert single.pop("separate") is True
    assert single == comparison.keys_of("slab")


@pytest.mark.parametrize("other", ["nothing", "tat-single", "itself", 3])
def test_a_variant_of_no_method_or_of_a_variant_is_refused(content, other):
    content["methods"]["itself"] = {"like": other}
    with pytest.raises(MedleyError, match=f"itself is like {other}; expected a method without like, one of restormer"):
        read_comparison(content, "it")


def test_equal_time_gives_steps_in_inverse_proportion_to_the_time_of_a_step(content, monkeypatch):
    seconds = {"restormer": 0.5, "tat": 1.0, "tat-single": 2.0, "slab": 0.1}
    asked = []

    def measured(recipes, folder, *, threads):
        asked.append({name: len(each) for name, each in recipes.items()})
        return seconds

    trained = {}

    def noted(entrant, threads, split):
        trained[entrant.method] = [one.steps for one in entrant.recipes]

    monkeypatch.setattr(comparing, "step_seconds", measured)
    monkeypatch.setattr(comparing, "_take_part", noted)
    monkeypatch.setattr(comparing, "read_scores", lambda path: ([], {}))
    chosen = some(content, *seconds, equal="time")
    chosen["recipe"]["steps"] = 30
    compare(*read_comparison(chosen, "it"))
    assert asked == [{"restormer": 1, "tat": 1, "tat-single": 2, "slab": 1}]
    assert trained == {"restormer": [30], "tat": [15], "tat-single": [8, 8], "slab": [150]}


def test_a_continued_comparison_of_equal_time_keeps_its_steps(content, monkeypatch):
    monkeypatch.setattr(step_time, "ROUNDS", 1)
    monkeypatch.setattr(step_time, "STEPS", 1)
    chosen = some(content, "restormer", "slab", equal="time")
    chosen["recipe"]["steps"] = 2
    first = compare(*read_comparison(chosen, "it"))
    monkeypatch.setattr(comparing, "_take_part", lambda *args, **keys: pytest.fail("trained again"))
    again = compare(*read_comparison(chosen, "it"))
    assert again == first
    assert {row.method: row.step for row in first}["restormer"] == 2


def test_other_steps_than_those_of_finished_runs_are_refused(content):
    chosen = some(content, "restormer", "slab")
    compare(*read_comparison(chosen, "it"))
    chosen["recipe"]["steps"] = 2
    with pytest.raises(MedleyError, match="another recipe: steps differ; choose another output folder"):
        compare(*read_comparison({**chosen, "equal": "time"}, "it"))


def test_the_sizes_in_the_recipe_are_right_and_those_of_the_five_methods_equal_within_ten_percent():
    stated = {name: int(count.replace(",", "")) for name, count in COUNTS.findall(RECIPE.read_text())}
    comparison, entrants = read_comparison(read_yaml(RECIPE), "it")
    found = {
        one.method: parameters(create_model(one.recipes[0].model, **one.recipes[0].config))
        for one in entrants
        if one.seed == comparison.seeds[0] and len(one.recipes) == 1
    }
    assert found == stated
    sizes = [size for name, size in found.items() if name not in comparison.variants]
    assert len(sizes) == 5
    assert max(sizes) < 1.1 * min(sizes)


COUNTS = re.compile(r"^  ([\w-]+):  # ([\d,]+) parameters$", re.MULTILINE)
