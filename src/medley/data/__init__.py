"""Studies to store, store to samples."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "batch",
    "cases",
    "layouts",
    "prepare",
    "record",
    "sampler",
    "store",
]
