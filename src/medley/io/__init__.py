"""Files to Volume and back."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "archive",
    "dicom",
    "files",
    "inflate",
    "metaimage",
    "nifti",
    "nifti_header",
    "nrrd",
    "photographs",
    "pickled",
    "pictures",
    "plausible",
    "raw_image",
    "sitk",
    "writing",
]
