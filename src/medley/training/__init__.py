"""Recipes, the loop, checkpoints."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "average",
    "balance",
    "checkpoint",
    "collective",
    "loop",
    "losses",
    "muon",
    "objective",
    "optimization",
    "patience",
    "pictures",
    "prediction",
    "processes",
    "recipe",
    "recipe_docs",
    "restoration",
    "run",
    "settings",
    "validation",
]
