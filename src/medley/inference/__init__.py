"""Trained networks applied to scans."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "catalogue",
    "conditions",
    "loading",
    "plan",
    "predictor",
    "restorer",
    "training_scans",
    "windows",
]
