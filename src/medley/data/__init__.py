"""Data sets to stores, stores to samples."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "augmentation",
    "batch",
    "checking",
    "layouts",
    "pairing",
    "prepare",
    "pseudonyms",
    "readers",
    "record",
    "sampling",
    "scan_noise",
    "simulation",
    "store",
    "target_noise",
    "training_scans",
]
