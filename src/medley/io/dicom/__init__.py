"""DICOM: series, headers, pixels, and objects derived from them."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "codestream",
    "conform",
    "consistency",
    "contours",
    "decode",
    "dose",
    "frames",
    "headers",
    "image",
    "measured",
    "planar",
    "provenance",
    "read",
    "references",
    "rois",
    "segmentation",
    "series",
    "structure_codes",
    "structures",
    "structures_write",
    "suv",
    "tags",
    "write",
]
