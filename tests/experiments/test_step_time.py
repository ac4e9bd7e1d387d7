import pytest
import torch

from medley.errors import MedleyError
from medley.experiments import step_time
from medley.experiments.step_time import NAME, seconds_per_step, step_seconds
from medley.training.recipe import make_recipe


@pytest.fixture
def recipe(small_store, tmp_path):
    tiny = {"dim": 8, "blocks": [1, 1, 1, 1], "refinement": 1}
    content = {
        "name": "a", "model": "restormer", "config": tiny, "store": str(small_store.path), "accelerator": "cpu",
        "tasks": ["ct-denoise"], "output": str(tmp_path / "a"), "steps": 5, "patch": 32, "patches": 1,
    }  # fmt: skip
    return make_recipe(content, "it")


@pytest.fixture
def clock(monkeypatch):
    """Made-up times of a step, by the name of the recipe, each for the next rounds; the recipes that were measured."""
    times = {"a": [1.0, 9.0, 2.0], "b": [4.0, 5.0, 6.0], "c": [0.5, 0.5, 0.5]}
    measured = []

    def seconds(recipe):
        measured.append(recipe.name)
        return times[recipe.name][measured.count(recipe.name) - 1]

    monkeypatch.setattr(step_time, "seconds_per_step", seconds)
    return measured


def test_a_real_step_takes_time_and_leaves_no_file(recipe):
    assert seconds_per_step(recipe) > 0
    assert not recipe.output.exists()


def test_several_devices_are_refused(recipe):
    with pytest.raises(MedleyError, match="set devices to 1"):
        seconds_per_step(recipe.model_copy(update={"devices": 2}))


def test_the_median_of_rounds_in_turn_and_the_sum_over_networks(recipe, clock, tmp_path):
    b, c = (recipe.model_copy(update={"name": name}) for name in "bc")
    assert step_seconds({"one": [recipe], "two": [b, c]}, tmp_path) == {"one": 2.0, "two": 5.5}
    assert "".join(clock) == "abc" * 3


def test_times_are_measured_once_for_each_recipe(recipe, clock, tmp_path):
    b = recipe.model_copy(update={"name": "b"})
    first = step_seconds({"one": [recipe]}, tmp_path)
    assert step_seconds({"one": [recipe], "two": [b]}, tmp_path) == {**first, "two": 5.0}
    assert "".join(clock) == "aaabbb"
    clock.clear()
    step_seconds({"one": [recipe.model_copy(update={"patches": 2})], "two": [b]}, tmp_path)
    assert "".join(clock) == "aaa"


def test_threads_are_as_before_afterwards(recipe, monkeypatch, tmp_path):
    before, during = torch.get_num_threads(), []
    monkeypatch.setattr(step_time, "seconds_per_step", lambda one: during.append(torch.get_num_threads()) or 1.0)
    step_seconds({"one": [recipe]}, tmp_path, threads=before + 1)
    assert set(during) == {before + 1}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("content", ["", "{", '{"one": 3}', '{"one": {"seconds": "long", "recipe": {}}}'])
def test_a_damaged_file_is_reported(recipe, content, tmp_path):
    (tmp_path / NAME).write_text(content)
    with pytest.raises(MedleyError, match=r"step-seconds\.json: is damaged; remove it"):
        step_seconds({"one": [recipe]}, tmp_path)
