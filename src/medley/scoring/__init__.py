"""Scores of models on a store."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "cases",
    "classical",
    "evaluate",
    "methods",
    "networks",
    "rows",
    "statistics",
    "summary",
    "validate",
]
