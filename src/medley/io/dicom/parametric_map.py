"""A value for every voxel of a scan -> DICOM parametric map (PS3.3 A.75) with highdicom, an extra."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.sr.coding import Code

from medley.io.dicom.highdicom_objects import frame_order, highdicom_for, made, saved
from medley.io.dicom.provenance import NO_NETWORK, Algorithm, marked
from medley.io.dicom.references import frame_of_reference, images_of, source_of
from medley.volume import Volume

_UNITS = {  # UCUM
    "HU": Code("[hnsf'U]", "UCUM", "Hounsfield unit"),
    "SUV": Code("g/ml{SUVbw}", "UCUM", "Standardized Uptake Value body weight"),
}
_NO_UNIT = Code("1", "UCUM", "no units")
_KIND = "DICOM parametric map"


def check_reference(reference: Volume, path: Path) -> None:
    """Check that a map can refer to a scan.

    Raises
    ------
    MedleyError: highdicom is not installed; the scan was not read from DICOM, or has no frame of reference.
    """
    highdicom_for(_KIND)
    frame_of_reference(reference, path)


def write_parametric_map(
    values: np.ndarray,
    path: str | Path,
    *,
    reference: Volume,
    quantity: str,
    mark: str = "medley",
    algorithm: Algorithm = NO_NETWORK,
    overwrite: bool = False,
) -> Path:
    """Write a map in float32 that refers to the images of the scan. Completely or not at all.

    Parameters
    ----------
    values: (slice, row, column) on the grid of `reference`, in its unit.
    reference: the scan, read from DICOM.
    quantity: what the values are, such as "expected error": the label of the map, and the description of its series,
        followed by `mark` in brackets. algorithm: that computed them.

    Raises
    ------
    MedleyError: highdicom is not installed; the scan was not read from DICOM, or its headers lack elements that the
        map needs; `path` exists and `overwrite` is False; it cannot be written.
    """
    path = Path(path)
    highdicom = highdicom_for(_KIND)
    if values.shape != reference.shape:
        raise ValueError(f"a map of the scan is {reference.shape}, but it is {values.shape}")
    check_reference(reference, path)
    images = list(images_of(reference, path))
    order = frame_order(source_of(reference, path), images)
    pixels = np.asarray(values, np.float32)[order]
    mapping = highdicom.pm.RealWorldValueMapping(
        lut_label="".join(word[0] for word in quantity.split()).upper()[:16],
        lut_explanation=quantity[:64],
        unit=_UNITS.get(reference.unit, _NO_UNIT),
        value_range=(float(pixels.min()), float(pixels.max())),
        slope=1,
        intercept=0,
    )
    new = made(
        highdicom.pm.ParametricMap,
        (images, pixels),
        {
            "contains_recognizable_visual_features": False,
            "real_world_value_mappings": [mapping],
            "window_center": float(pixels.max()) / 2,
            "window_width": max(float(pixels.max()), 1e-3),
            "content_description": quantity[:64],
            "content_label": "MAP",
        },
        reference=reference,
        path=path,
        kind=_KIND,
        description=marked(quantity, mark),
        algorithm=algorithm,
    )
    return saved(new, path, reference=reference, overwrite=overwrite)
