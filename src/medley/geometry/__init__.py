"""The geometry of scans: orientation, resampling, the body."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "body",
    "orientation",
    "resampling",
]
