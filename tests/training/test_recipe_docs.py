from pathlib import Path

import pytest

from medley.training.recipe import PredictionRecipe, Recipe, RestorationRecipe
from medley.training.recipe_docs import attributes, page
from medley.training.settings import Balance, Optimizer, Validation

PAGE = Path(__file__).parents[2] / "docs" / "recipe-keys.md"


def test_the_page_in_docs_is_up_to_date():
    assert PAGE.read_text() == page(), "run python -m medley.training.recipe_docs > docs/recipe-keys.md"


@pytest.mark.parametrize("kind", [Recipe, RestorationRecipe, PredictionRecipe, Optimizer, Balance, Validation])
def test_every_key_is_documented_and_nothing_else(kind):
    inherited = set().union(*(getattr(base, "model_fields", {}) for base in kind.__bases__))
    assert attributes(kind).keys() == kind.model_fields.keys() - inherited
    assert all(attributes(kind).values())
