"""Scores."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "alignment",
    "contrast",
    "dose",
    "embedding",
    "error_features",
    "features",
    "image",
    "labels",
    "measures",
    "noise",
    "observer",
    "overlap",
    "physical",
    "residual",
    "spectrum",
    "targets",
    "tissue",
    "transfer",
]
