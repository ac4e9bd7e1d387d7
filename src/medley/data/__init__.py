"""Data sets to stores, stores to samples."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "augmentation",
    "batch",
    "layouts",
    "prepare",
    "pseudonyms",
    "readers",
    "record",
    "sampling",
    "simulation",
    "store",
]
