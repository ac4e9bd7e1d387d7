from pathlib import Path

import pytest

from medley.errors import MedleyError
from medley.training.recipe import read_recipe

FOUND = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
RECIPES = [path for path in FOUND if not path.stem.startswith("compare-")]  # those are tests/evaluation's
SMALL = "name: x\nmodel: tat\nstore: s\noutput: o\nsteps: 10\n"


@pytest.fixture
def recipe_file(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(SMALL)
    return file


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_house_can_be_read(path):
    assert read_recipe(path).steps > 0


def test_a_comparison_is_told_from_a_recipe(tmp_path):
    file = tmp_path / "compare.yaml"
    file.write_text("methods: {a: {model: stl}}")
    with pytest.raises(MedleyError, match="medley compare"):
        read_recipe(file)


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("aggregation=pcgrad", None),
        ("micro_batch=1", "micro_batch"),
        ("balance=tat", "balance tat"),
        ("devices=2", "one device"),
    ],
)
def test_aggregation_takes_a_whole_batch_of_tasks_on_one_device(recipe_file, override, what):
    overrides = ["aggregation=pcgrad", override]
    if what is None:
        assert read_recipe(recipe_file, overrides).aggregation == "pcgrad"
    else:
        with pytest.raises(MedleyError, match=what):
            read_recipe(recipe_file, overrides)


@pytest.mark.parametrize("balance", ["uncertainty", "dwa"])
def test_what_weighs_whole_batches_does_not_go_with_parts(recipe_file, balance):
    with pytest.raises(MedleyError, match=f"balance {balance} weighs whole batches"):
        read_recipe(recipe_file, [f"balance={balance}", "micro_batch=1"])


@pytest.mark.parametrize(("key", "what"), [("devices=2", "learn on one device"), ("crop=[8,8]", "crop.0")])
def test_what_multitask_nets_cannot(tmp_path, key, what):
    file = tmp_path / "net.yaml"
    file.write_text("{name: net, model: ctan-tiny, store: s, output: o, steps: 1}")
    with pytest.raises(MedleyError, match=what):
        read_recipe(file, [key])


def test_fixed_weights_and_their_name_belong_together(recipe_file):
    recipe = read_recipe(recipe_file, ["balance={name: fixed, weights: {ct-denoise: 2}}"])
    assert recipe.balance.weights == {"ct-denoise": 2}
    for wrong in ("balance=fixed", "balance={name: equal, weights: {ct-denoise: 2}}"):
        with pytest.raises(MedleyError, match="belong together"):
            read_recipe(recipe_file, [wrong])


def test_values_on_the_command_line_win(recipe_file):
    recipe = read_recipe(recipe_file, ["optimiser.rate=1e-3", "steps=20", "tasks=[ct-denoise]", "config.dim=8"])
    assert recipe.optimiser.rate == 1e-3
    assert recipe.steps == 20
    assert recipe.tasks == ("ct-denoise",)
    assert recipe.config == {"dim": 8}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("leraning_rate: 1", "leraning_rate: extra inputs are not permitted"),
        ("optimiser: {momentum: 1}", "optimiser.momentum"),
        ("steps: -1", "steps"),
        ("tasks: [ct-sharpen]", "ct-denoise"),
        ("balance: fair", "balance"),
    ],
)
def test_what_is_not_known_or_does_not_fit_is_named(recipe_file, line, said):
    key = line.split(":")[0]
    recipe_file.write_text("".join(f"{k}\n" for k in SMALL.splitlines() if not k.startswith(key)) + line)
    with pytest.raises(MedleyError, match=said):
        read_recipe(recipe_file)


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [b\n"])
def test_what_is_no_recipe_is_said(recipe_file, content):
    recipe_file.write_text(content)
    with pytest.raises(MedleyError, match=r"recipe\.yaml"):
        read_recipe(recipe_file)


def test_a_missing_recipe_and_a_bad_override_are_said(tmp_path, recipe_file):
    with pytest.raises(MedleyError, match="cannot be read"):
        read_recipe(tmp_path / "no.yaml")
    with pytest.raises(MedleyError, match="expected NAME=VALUE"):
        read_recipe(recipe_file, ["steps"])
    with pytest.raises(MedleyError, match="steps holds a value"):
        read_recipe(recipe_file, ["steps.few=1"])
