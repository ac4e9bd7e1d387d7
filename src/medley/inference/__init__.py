"""Trained networks applied to scans."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "catalogue",
    "conditions",
    "expected_error",
    "loading",
    "noise",
    "plan",
    "predictor",
    "residual",
    "restorer",
    "strength",
    "training_scans",
    "windows",
]
