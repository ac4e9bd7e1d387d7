"""Scores."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "alignment",
    "dose",
    "image",
    "labels",
    "noise",
    "overlap",
    "targets",
]
