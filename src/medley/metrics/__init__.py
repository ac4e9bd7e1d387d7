"""Scores."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "answers",
    "dose",
    "image",
    "labels",
    "overlap",
]
