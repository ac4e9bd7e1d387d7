"""Scores."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "alignment",
    "contrast",
    "dose",
    "image",
    "labels",
    "noise",
    "observer",
    "overlap",
    "spectrum",
    "targets",
    "transfer",
]
