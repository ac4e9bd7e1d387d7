"""Scores of models on a store."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "classical",
    "evaluate",
    "methods",
    "phantom",
    "rows",
    "scorers",
    "statistics",
    "summary",
]
