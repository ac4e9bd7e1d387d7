"""Recipes, the loop, checkpoints."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "average",
    "balance",
    "checkpoint",
    "loop",
    "losses",
    "muon",
    "objective",
    "prediction",
    "recipe",
    "recipe_docs",
    "restoration",
    "settings",
    "validation",
]
