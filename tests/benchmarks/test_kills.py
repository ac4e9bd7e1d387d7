"""A training that was killed continues as if nothing had happened; `benchmarks.kills` does the same at fifty points."""

import os

import pytest
from benchmarks.kills import PHASES, Point, Trainer, identical, kill_and_continue, make_recipe, tensors


@pytest.fixture(scope="module")
def trainer():
    return Trainer()


@pytest.fixture(scope="module")
def whole(trainer, tmp_path_factory):
    """The recipe of an uninterrupted run of six steps, and what it ended with."""
    recipe = make_recipe(tmp_path_factory.mktemp("kills"), steps=6)
    assert trainer(recipe) is None
    assert trainer.writing > 0
    return recipe, tensors(recipe), trainer.writing


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_weights_are_bit_identical_after_kills_in_checkpoints_and_between_them(trainer, whole, tmp_path):
    recipe, expected, writing = whole
    points = iter([Point(0, 1), Point(writing / 2, 2), Point(0, 2), Point(writing / 4, 1), Point(2 * writing, 1)])
    killed = recipe.model_copy(update={"output": tmp_path / "killed"})
    rows = kill_and_continue(trainer, killed, lambda: next(points), 5)
    assert [row["phase"] for row in rows].count(PHASES[1]) >= 2
    assert identical(tensors(killed), expected)
    other = recipe.model_copy(update={"output": tmp_path / "other", "seed": 1})
    assert trainer(other) is None
    assert not identical(tensors(other), expected)  # so that equality means something
