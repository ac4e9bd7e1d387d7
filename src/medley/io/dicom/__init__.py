"""DICOM: series, headers, pixels, and objects derived from them."""
