"""RTSTRUCT -> masks: contours drawn on a scan, filled on its grid (PS3.3 A.19, C.8.8.6).

A voxel belongs to a structure when its centre lies inside an odd number of the contours of its slice: an inner
contour is a hole, and the two sides of a keyhole's channel cancel. Of centres that lie on a contour, those on its side
of low rows and columns belong to it, so that structures which share an edge share no voxel. Contours between slices are
assigned by `contours.slices_of`, which keeps the volume.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from medley.errors import MedleyError
from medley.geometry.orientation import RAS_FROM_LPS
from medley.io.dicom.contours import COARSE, distinct, fill, planes_of, slices_of, spacing_of, touched
from medley.io.dicom.headers import reading
from medley.io.dicom.references import check_frame
from medley.io.dicom.rois import Roi, read_rois
from medley.volume import Volume

# A contour may leave the plane of its slice by this part of the slice distance.
FLAT = 0.25
# It may reach this many pixels beyond the centres of the outermost ones: to their edge and one pixel further.
OFF_IMAGE = 1.5


class Structures(Mapping[str, np.ndarray]):
    """The structures that were drawn: {name: (slice, row, column) bool mask on the grid of the scan}.

    A mask is made when it is looked up, and not kept; it is never empty. The look-up raises MedleyError with the name
    of the structure if a contour reaches beyond the scan or is oblique to its slices, if slices are skipped, if the
    contours enclose nothing or cancel each other, if it is unclear which contours belong to the structure, or
    if two structures have the name. A structure too small to contain the centre of a voxel gets the voxels it touches.

    Attributes
    ----------
    path: the file.
    interpreted: {name: RTROIInterpretedType} of the structures that were drawn.
    not_drawn: names of those without a closed contour.
    ignored: {name: number of its contours that are ignored, because they are points or open lines}.
    """

    def __init__(self, path: Path, rois: Sequence[Roi], scan: Volume) -> None:
        self.path = path
        self._drawn = [roi for roi in rois if roi.drawn]
        self._shape = scan.shape
        self._from_lps = np.linalg.inv(RAS_FROM_LPS @ scan.affine)
        direction = scan.affine[:3, 0]
        self._upwards = bool(direction[np.abs(direction).argmax()] > 0)  # the same whatever the order of the slices
        self.interpreted = {roi.name: roi.interpreted for roi in self._drawn}
        self.not_drawn = tuple(roi.name for roi in rois if not roi.drawn)
        self.ignored = {roi.name: roi.ignored for roi in rois if roi.ignored}

    def __iter__(self) -> Iterator[str]:
        return iter(self.interpreted)

    def __len__(self) -> int:
        return len(self.interpreted)

    def __contains__(self, name: object) -> bool:
        return name in self.interpreted  # without making the mask

    def __getitem__(self, name: str) -> np.ndarray:
        roi = self._roi(name)
        with reading(self.path):
            contours = distinct([self._points(contour, name) for contour in roi.contours])
        for points in contours:
            self._check_place(points, name)
        heights = np.array([points[:, 0].mean() for points in contours])
        planes = planes_of(heights)
        middles = np.array([heights[plane].mean() for plane in planes])
        if len(planes) > 2 and spacing_of(middles) >= COARSE:
            raise MedleyError(
                f"{self.path}: the contours of {name} are {spacing_of(middles):.3g} slices apart, expected one on each "
                "slice; give the scan it was drawn on, or interpolate its contours first"
            )
        mask = np.zeros(self._shape, bool)
        slices = slices_of(middles, len(mask), upwards=self._upwards)
        polygons = {k: [contours[index][:, 1:] for index in planes[plane]] for k, plane in slices.items()}
        for k, of_slice in polygons.items():
            mask[k] = fill(of_slice, mask.shape[1:])
            if not mask[k].any() and any(fill([one], mask.shape[1:]).any() for one in of_slice):
                raise MedleyError(
                    f"{self.path}: the contours of {name} on slice {k + 1} cancel each other, as if drawn twice; "
                    "remove the repeated contours"
                )
        if not mask.any():
            for k, of_slice in polygons.items():
                mask[k] = touched(of_slice, mask.shape[1:])
        if not mask.any():
            raise MedleyError(f"{self.path}: the contours of {name} enclose nothing; draw it again or remove it")
        return mask

    def _roi(self, name: str) -> Roi:
        of_name = [roi for roi in self._drawn if roi.name == name]
        if not of_name:
            raise KeyError(name)
        if len(of_name) > 1:
            raise MedleyError(f"{self.path}: {len(of_name)} structures are called {name!r}; rename all but one")
        if of_name[0].problem:
            raise MedleyError(f"{self.path}: the structure {name!r} {of_name[0].problem}; export it again")
        return of_name[0]

    def _points(self, contour: Dataset, name: str) -> np.ndarray:
        """A contour as (point, 3): slice, row and column, counted from 0 at the centre of the first voxel."""
        lps = np.atleast_1d(np.array(contour.ContourData, np.float64))
        if not lps.size or lps.size % 3 or not np.isfinite(lps).all():
            raise MedleyError(f"{self.path}: a contour of {name} has {lps.size} coordinates; expected 3 for each point")
        points = lps.reshape(-1, 3) @ self._from_lps[:3, :3].T + self._from_lps[:3, 3]
        return points.round(6)  # so that rounding errors in the last digit decide nothing

    def _check_place(self, points: np.ndarray, name: str) -> None:
        low, high = points.min(axis=0), points.max(axis=0)
        if high[0] - low[0] > FLAT:
            raise MedleyError(
                f"{self.path}: a contour of {name} does not lie in the plane of a slice, it crosses "
                f"{high[0] - low[0]:.1f} slices; expected contours drawn on the slices of this scan"
            )
        beyond = np.maximum(-low, high - (np.array(self._shape) - 1)) > (0.5 + 1e-3, OFF_IMAGE, OFF_IMAGE)
        for k in np.flatnonzero(beyond)[:1]:
            axis = ("slices", "rows", "columns")[k]
            raise MedleyError(
                f"{self.path}: a contour of {name} lies outside the scan, at {axis} {low[k]:.1f} to {high[k]:.1f} of 0 "
                f"to {self._shape[k] - 1}; give the scan it was drawn on, whole"
            )


def read_structures(path: str | Path, scan: Volume) -> Structures:
    """Open the structures of an RTSTRUCT file that was drawn on a scan.

    Parameters
    ----------
    scan: read from DICOM, in any orientation; its pixels are not used.

    Raises
    ------
    MedleyError: not an RTSTRUCT, a broken one, or one that was drawn in another frame of reference than the scan's.
    """
    path = Path(path)
    rois = read_rois(path)
    for frame in sorted({roi.frame for roi in rois if roi.drawn}):
        check_frame(frame, scan, path)
    return Structures(path, rois, scan)
