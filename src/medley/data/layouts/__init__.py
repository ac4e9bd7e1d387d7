"""One module for each supported layout of a data set on disk."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "amir",
    "dicom_rt",
    "folder",
    "ham10000",
    "images",
    "ixi",
    "layout",
    "ldct",
    "openkbp",
    "pairs",
    "stoic",
    "structure_names",
    "study",
    "tables",
]
