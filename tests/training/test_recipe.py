from pathlib import Path

import pytest
import yaml

from medley.errors import MedleyError
from medley.training.recipe import as_record, differing, make_recipe, read_recipe

FOUND = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
RECIPES = [path for path in FOUND if not path.stem.startswith("compare-")]  # those are tests/evaluation's
SMALL = "name: x\nmodel: tat\nstore: s\noutput: o\nsteps: 10\n"


@pytest.fixture
def recipe_file(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(SMALL)
    return file


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_project_can_be_read(path):
    assert read_recipe(path).steps > 0


def test_a_recipe_that_names_no_tasks_trains_those_of_volumes(recipe_file):
    """As before the tasks of pictures existed."""
    assert read_recipe(recipe_file).tasks == ("mr-sr", "ct-denoise", "pet-denoise")


def test_a_recipe_for_a_comparison_is_refused(tmp_path):
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
def test_aggregation_needs_a_whole_batch_on_one_device(recipe_file, override, what):
    overrides = ["aggregation=pcgrad", override]
    if what is None:
        assert read_recipe(recipe_file, overrides).aggregation == "pcgrad"
    else:
        with pytest.raises(MedleyError, match=what):
            read_recipe(recipe_file, overrides)


def test_limits_of_multitask_networks(tmp_path):
    file = tmp_path / "net.yaml"
    file.write_text("{name: net, model: ctan-tiny, store: s, output: o, steps: 1}")
    with pytest.raises(MedleyError, match=r"crop\.0"):
        read_recipe(file, ["crop=[8,8]"])


@pytest.mark.parametrize(
    ("value", "temperature"),
    [("uniform", None), ("proportional", 1), ("{name: temperature, temperature: 3}", 3), ("{name: proportional}", 1)],
)
def test_sampling_has_a_temperature_unless_it_is_uniform(recipe_file, value, temperature):
    assert read_recipe(recipe_file, [f"sampling={value}"]).sampling.temperature == temperature


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("temperature", "needs a temperature, the others have none"),
        ("{name: uniform, temperature: 2}", "needs a temperature"),
        ("{name: proportional, temperature: 2}", "needs a temperature"),
        ("{name: temperature, temperature: 0}", "greater than 0"),
        ("mixed", "mixed of an older medley is proportional today"),
        ("{shares: {ct-denoise: 0}}", "greater than 0"),
        ("{shares: {ct-denoize: 2}}", "sampling.shares names ct-denoize, which is not in tasks"),
        ("{name: proportional, shares: {ct-denoise: 2}}", "shares belong to the name"),
    ],
)
def test_sampling_that_makes_no_sense_is_refused(recipe_file, value, what):
    with pytest.raises(MedleyError, match=what):
        read_recipe(recipe_file, [f"sampling={value}"])


def test_a_run_recorded_with_a_name_for_a_group_of_keys_is_the_same(recipe_file):
    recipe = read_recipe(recipe_file)
    record = {**as_record(recipe), "sampling": "uniform", "balance": "equal"}
    assert differing(record, recipe) == []
    assert differing(record, read_recipe(recipe_file, ["sampling=proportional"])) == ["sampling"]


def test_weights_need_the_name_fixed(recipe_file):
    recipe = read_recipe(recipe_file, ["balance={name: fixed, weights: {ct-denoise: 2}}"])
    assert recipe.balance.weights == {"ct-denoise": 2}
    for wrong in ("balance=fixed", "balance={name: equal, weights: {ct-denoise: 2}}"):
        with pytest.raises(MedleyError, match="belong together"):
            read_recipe(recipe_file, [wrong])


def test_overrides_replace_values_of_the_file(recipe_file):
    recipe = read_recipe(
        recipe_file, ["optimizer.learning_rate=1e-3", "steps=20", "tasks=[ct-denoise]", "config.dim=8"]
    )
    assert recipe.optimizer.learning_rate == 1e-3
    assert recipe.steps == 20
    assert recipe.tasks == ("ct-denoise",)
    assert recipe.config == {"dim": 8}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("stesp: 1", "stesp: unknown key; did you mean 'steps'?"),
        ("zzz: 1", "zzz: unknown key$"),
        ("optimizer: {learnig_rate: 1}", "optimizer.learnig_rate: unknown key; did you mean 'learning_rate'?"),
        ("validation: {evry: 1}", "validation.evry: unknown key; did you mean 'every'?"),
        ("model: tatt", "there is no network 'tatt'; the networks are .*did you mean 'tat'"),
        ("model: ctan-tinny", "there is no network 'ctan-tinny'; the networks are .*did you mean 'ctan-tiny'"),
        ("model: [tat]", "model: input should be a valid string"),
        ("optimiser: {rate: 1.0}", "optimiser was renamed to optimizer; optimiser.rate was renamed to optimizer.lear"),
        ("optimizer: {clip: 1.0}", "optimizer.clip was renamed to optimizer.gradient_clip"),
        ("tasks: [ct-denois]", "did you mean 'ct-denoise'"),
        *((f"name: {name}", "name") for name in ("..", "/etc/x", "a/b", "'a\\b'", "''", "C:x", ".hidden")),
        ("steps: -1", "steps"),
        ("tasks: [ct-sharpen]", "ct-denoise"),
        ("balance: fair", "balance"),
        ("optimizer: {name: muonn}", "optimizer.name"),
        ("optimizer: {momentum: 1.0}", "optimizer.momentum"),
    ],
)
def test_unknown_keys_and_invalid_values_are_named(recipe_file, line, said):
    key = line.split(":")[0]
    recipe_file.write_text("".join(f"{k}\n" for k in SMALL.splitlines() if not k.startswith(key)) + line)
    with pytest.raises(MedleyError, match=said):
        read_recipe(recipe_file)


@pytest.mark.parametrize(
    "content", ["- a\n- b\n", "a: [b\n", "name: caf\xe9\n".encode("latin-1"), "[" * 5000, "a: &a [x, x]\nb: [*a, *a]\n"]
)
def test_a_file_that_is_no_recipe_is_refused(recipe_file, content):
    recipe_file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(MedleyError, match=r"recipe\.yaml"):
        read_recipe(recipe_file)


def test_a_missing_file_and_a_malformed_override_are_refused(tmp_path, recipe_file):
    with pytest.raises(MedleyError, match="cannot be read"):
        read_recipe(tmp_path / "no.yaml")
    with pytest.raises(MedleyError, match="expected NAME=VALUE"):
        read_recipe(recipe_file, ["steps"])
    with pytest.raises(MedleyError, match="steps holds a value"):
        read_recipe(recipe_file, ["steps.few=1"])


@pytest.mark.parametrize("number", ["1e-3", "1E-3", "0.001", "1.0e-3", ".001"])
def test_numbers_in_every_notation(recipe_file, number):
    assert read_recipe(recipe_file, [f"optimizer.learning_rate={number}"]).optimizer.learning_rate == 1e-3


@pytest.mark.parametrize(
    "override", ["steps=[", "steps={a", "steps=*a", "steps=" + "[" * 5000, "config=&a [*a]", "=1", "a"]
)
def test_malformed_overrides_are_one_sentence(recipe_file, override):
    with pytest.raises(MedleyError, match=r"^--set ") as caught:
        read_recipe(recipe_file, [override])
    assert "\n" not in str(caught.value)


def test_records_have_no_absolute_paths_but_notice_another_folder(tmp_path, recipe_file):
    recipe = read_recipe(recipe_file, [f"store={tmp_path}/stores/a", f"output={tmp_path}/runs/x"])
    record = as_record(recipe)
    assert str(tmp_path) not in str(record)
    assert record["store"].startswith("a#")
    assert differing(record, recipe) == []
    other = read_recipe(recipe_file, [f"store={tmp_path}/others/a", f"output={tmp_path}/runs/y"])
    assert differing(record, other) == ["store"]


def test_resolved_records_compare_where_paths_lead(tmp_path, recipe_file, monkeypatch):
    (tmp_path / "stores").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "stores")
    absolute = read_recipe(recipe_file, [f"store={tmp_path}/stores"])
    record = as_record(absolute, resolve=True)
    monkeypatch.chdir(tmp_path)
    for same in ("stores", "./stores", "link", f"{tmp_path}/link/../stores"):
        assert differing(record, read_recipe(recipe_file, [f"store={same}"]), resolve=True) == []
    assert differing(record, read_recipe(recipe_file, ["store=other"]), resolve=True) == ["store"]


def test_only_keys_with_an_effect_differ(recipe_file):
    recipe = read_recipe(recipe_file)
    record = as_record(recipe)
    for override in ("name=y", "output=elsewhere", "checkpoint_every=3"):
        assert differing(record, read_recipe(recipe_file, [override])) == []
    assert differing(record, read_recipe(recipe_file, ["steps=11", "optimizer.weight_decay=1"])) == [
        "optimizer",
        "steps",
    ]
    del record["seed"]
    assert differing(record, recipe) == []
    assert differing(record, read_recipe(recipe_file, ["seed=1"])) == ["seed"]


def test_a_record_from_before_the_choice_of_optimizer_is_of_adamw(recipe_file):
    record = as_record(read_recipe(recipe_file))
    del record["optimizer"]["name"], record["optimizer"]["momentum"]
    assert differing(record, read_recipe(recipe_file)) == []
    assert differing(record, read_recipe(recipe_file, ["optimizer.name=muon"])) == ["optimizer"]


def test_a_record_with_old_keys_is_refused(recipe_file):
    recipe = read_recipe(recipe_file)
    record = {**as_record(recipe), "optimiser": {"rate": 1e-3}}
    with pytest.raises(
        MedleyError, match=r"older medley, with other keys \(optimiser, optimiser.rate\); train it again"
    ):
        differing(record, recipe)


def test_a_record_gives_the_recipe_again(recipe_file):
    recipe = read_recipe(recipe_file)
    assert make_recipe(yaml.safe_load(yaml.safe_dump(as_record(recipe))), "the record") == recipe


PLUGIN = """
from torch import nn
from medley.models.zoo import NETWORKS
from medley.training.losses import LOSSES
NETWORKS.register("own", nn.Conv2d)
LOSSES.register("own", print)
"""


@pytest.fixture
def with_plugin(recipe_file, forget):
    (recipe_file.parent / "own.py").write_text(PLUGIN)
    recipe_file.write_text(SMALL.replace("tat", "own") + "plugins: [own.py]\nloss: own\n")
    return recipe_file


def test_plugins_are_relative_to_the_recipe_and_recorded_with_a_checksum(with_plugin, forget):
    recipe = read_recipe(with_plugin)
    assert recipe.plugins == (with_plugin.parent / "own.py",)
    record = as_record(recipe)
    assert record["plugins"][0].startswith("own.py#")
    assert record == {**record, **as_record(recipe, resolve=True), "store": "s", "output": "o"}
    assert differing(record, recipe) == []
    forget()
    (with_plugin.parent / "own.py").write_text(PLUGIN + "# changed\n")
    assert differing(record, read_recipe(with_plugin)) == ["plugins"]


def test_records_from_before_plugins_are_those_of_recipes_without(recipe_file):
    recipe = read_recipe(recipe_file)
    record = as_record(recipe)
    assert record.pop("plugins") == []
    assert differing(record, recipe) == []


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("plugins=[]", "there is no network 'own'"),
        ("plugins=[nowhere.py]", "the recipe .*recipe.yaml: the plugin .*nowhere.py cannot be read: No such file"),
        ("plugins=own.py", r"plugins must be a list of files, such as \[my_network.py\], but is 'own.py'"),
        ("plugins=[1]", "plugins must be a list of files"),
        ("loss=owm", "loss: .*there is no loss 'owm'; the losses are l1, scaled, own; did you mean 'own'"),
    ],
)
def test_a_recipe_whose_plugin_cannot_be_used_is_refused(with_plugin, override, said):
    with pytest.raises(MedleyError, match=said):
        read_recipe(with_plugin, [override])


def test_plugins_are_not_run_before_the_recipe_is_read(with_plugin):
    from medley.models.zoo import NETWORKS

    assert "own" not in NETWORKS
    read_recipe(with_plugin)
    assert "own" in NETWORKS
