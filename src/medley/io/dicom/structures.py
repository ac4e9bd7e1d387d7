"""RTSTRUCT -> masks: contours drawn on a scan, filled on its grid (PS3.3 A.19, C.8.8.5, C.8.8.6).

A voxel belongs to a structure when its centre lies inside an odd number of the contours of its slice: an inner
contour is a hole, and the two sides of a keyhole's channel cancel. Of centres that lie on a contour, those on its side
of low rows and columns belong to it, so that structures which share an edge share no voxel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from medley.errors import MedleyError
from medley.geometry.orientation import RAS_FROM_LPS
from medley.io.dicom.references import check_frame
from medley.io.dicom.series import read_header, reading
from medley.volume import Volume

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# A contour may leave the plane of its slice by this part of the slice distance.
FLAT = 0.25
# It may reach this many pixels beyond the centres of the outermost ones: to their edge and one pixel further.
OFF_IMAGE = 1.5
# Where the planes of a structure are this many slices apart, as a rule, it was drawn on a coarser scan.
SKIPPED = 1.5
# Contours this near to each other, in slices, lie in one plane.
SAME_PLANE = 0.01


@dataclass(frozen=True)
class Roi:
    """One structure as the file has it.

    Attributes
    ----------
    name: ROIName. interpreted: RTROIInterpretedType: "PTV", "ORGAN", "EXTERNAL" ...; "" when it is not said.
    frame: UID of its frame of reference.
    contours: its closed contours, items of ContourSequence.
    ignored: how many others it has: points and open lines.
    """

    name: str
    interpreted: str
    frame: str
    contours: tuple[Dataset, ...]
    ignored: int


class Structures(Mapping[str, np.ndarray]):
    """The structures that were drawn: {name: (slice, row, column) bool mask on the grid of the scan}.

    A mask is made when it is asked for, and not kept. Asking raises MedleyError, naming the structure, where a contour
    reaches beyond the scan or lies aslant to its slices, where slices are skipped, or where two structures have the
    name.

    Attributes
    ----------
    path: the file.
    interpreted: {name: RTROIInterpretedType} of the structures that were drawn.
    not_drawn: names of those without a closed contour.
    ignored: {name: how many of its contours were passed over, because they are points or open lines}.
    """

    def __init__(self, path: Path, rois: Sequence[Roi], scan: Volume) -> None:
        self.path = path
        self._drawn = [roi for roi in rois if roi.contours]
        self._shape = scan.shape
        self._from_lps = np.linalg.inv(RAS_FROM_LPS @ scan.affine)
        self.interpreted = {roi.name: roi.interpreted for roi in self._drawn}
        self.not_drawn = tuple(roi.name for roi in rois if not roi.contours)
        self.ignored = {roi.name: roi.ignored for roi in rois if roi.ignored}

    def __iter__(self) -> Iterator[str]:
        return iter(self.interpreted)

    def __len__(self) -> int:
        return len(self.interpreted)

    def __getitem__(self, name: str) -> np.ndarray:
        of_name = [roi for roi in self._drawn if roi.name == name]
        if not of_name:
            raise KeyError(name)
        if len(of_name) > 1:
            raise MedleyError(f"{self.path}: {len(of_name)} structures are called {name!r}; rename all but one")
        mask = np.zeros(self._shape, bool)
        with reading(self.path):
            contours = [self._points(contour, name) for contour in of_name[0].contours]
        for k, on_slice in self._by_slice(contours, name).items():
            mask[k] = fill([points[:, 1:] for points in on_slice], mask.shape[1:])
        return mask

    def _points(self, contour: Dataset, name: str) -> np.ndarray:
        """A contour as (point, 3): slice, row and column, counted from 0 at the centre of the first voxel."""
        lps = np.array(contour.ContourData, np.float64)
        if lps.size % 3 or not np.isfinite(lps).all():
            raise MedleyError(f"{self.path}: a contour of {name} has {lps.size} coordinates; expected 3 for each point")
        points = lps.reshape(-1, 3) @ self._from_lps[:3, :3].T + self._from_lps[:3, 3]
        return points.round(6)  # so that rounding in the last digit decides nothing

    def _by_slice(self, contours: Sequence[np.ndarray], name: str) -> dict[int, list[np.ndarray]]:
        """The contours of each slice: those of the plane nearest to it, where several lie within half a slice of it."""
        planes: dict[int, dict[float, list[np.ndarray]]] = {}
        for points in contours:
            self._check_place(points, name)
            height = float(points[:, 0].mean())
            k = min(max(round(height), 0), self._shape[0] - 1)
            planes.setdefault(k, {}).setdefault(round((height - k) / SAME_PLANE) * SAME_PLANE, []).append(points)
        steps = np.diff(sorted(planes))
        if len(steps) > 1 and np.median(steps) >= SKIPPED:
            raise MedleyError(
                f"{self.path}: the contours of {name} are {np.median(steps):g} slices apart, expected one on each "
                "slice; give the scan it was drawn on, or interpolate its contours first"
            )
        return {k: of_slice[min(of_slice, key=abs)] for k, of_slice in planes.items()}

    def _check_place(self, points: np.ndarray, name: str) -> None:
        low, high = points.min(axis=0), points.max(axis=0)
        if high[0] - low[0] > FLAT:
            raise MedleyError(
                f"{self.path}: a contour of {name} does not lie in the plane of a slice, it crosses "
                f"{high[0] - low[0]:.1f} slices; expected contours drawn on the slices of this scan"
            )
        beyond = np.maximum(-low, high - (np.array(self._shape) - 1)) > (0.5, OFF_IMAGE, OFF_IMAGE)
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
    scan: read from DICOM, in any orientation; its pixels are not looked at.

    Raises
    ------
    MedleyError: not an RTSTRUCT, a broken one, or one that was drawn in another frame of reference than the scan's.
    """
    path = Path(path)
    rois = read_rois(path)
    for frame in sorted({roi.frame for roi in rois if roi.contours}):
        check_frame(frame, scan, path)
    return Structures(path, rois, scan)


def read_rois(path: Path) -> list[Roi]:
    """The structures of an RTSTRUCT file as they stand in it, drawn or not.

    Raises
    ------
    MedleyError: not an RTSTRUCT, or a broken one.
    """
    header = _header(path)
    with reading(path):
        return list(_rois(header))


def series_of(path: Path) -> set[str]:
    """SeriesInstanceUID of the series that an RTSTRUCT file says it was drawn on; none where it does not say.

    Raises
    ------
    MedleyError: not an RTSTRUCT, or a broken one.
    """
    header = _header(path)
    with reading(path):
        return {
            str(series.SeriesInstanceUID)
            for frame in header.get("ReferencedFrameOfReferenceSequence") or ()
            for study in frame.get("RTReferencedStudySequence") or ()
            for series in study.get("RTReferencedSeriesSequence") or ()
        }


def fill(contours: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie inside an odd number of polygons.

    Parameters
    ----------
    contours: each (point, 2): row and column, closed from the last point to the first.
    shape: (rows, columns).

    Returns
    -------
    (row, column) bool.
    """
    rows, columns = shape
    flips = np.zeros((rows, columns + 1), np.int64)  # how often inside and outside change before each pixel
    for points in contours:
        start, end = points, np.roll(points, -1, axis=0)
        # An edge crosses the rows from its upper end on, up to but without its lower end; a level one crosses none.
        first = np.ceil(np.minimum(start[:, 0], end[:, 0])).clip(0, rows).astype(int)
        count = np.ceil(np.maximum(start[:, 0], end[:, 0])).clip(0, rows).astype(int) - first
        edge = np.repeat(np.arange(len(points)), count)
        row = np.arange(len(edge)) + (first - (count.cumsum() - count))[edge]
        (y0, x0), (y1, x1) = start[edge].T, end[edge].T
        crossing = x0 + (row - y0) * (x1 - x0) / (y1 - y0)
        np.add.at(flips, (row, np.ceil(crossing.round(6)).clip(0, columns).astype(int)), 1)
    return flips.cumsum(axis=1)[:, :columns] % 2 == 1


def _header(path: Path) -> Dataset:
    header = read_header(path)
    if header.get("Modality") != "RTSTRUCT":
        raise MedleyError(f"{path}: its modality is {header.get('Modality') or 'unknown'}, expected an RTSTRUCT file")
    with reading(path):
        header.decode()
    return header


def _rois(header: Dataset) -> Iterator[Roi]:
    contours = {
        int(item.ReferencedROINumber): list(item.get("ContourSequence") or ())
        for item in header.get("ROIContourSequence") or ()
    }
    interpreted = {
        int(item.ReferencedROINumber): str(item.get("RTROIInterpretedType") or "")
        for item in header.get("RTROIObservationsSequence") or ()
    }
    for item in header.get("StructureSetROISequence") or ():
        number = int(item.ROINumber)
        drawn = contours.get(number, [])
        closed = tuple(one for one in drawn if one.get("ContourGeometricType") in CLOSED and "ContourData" in one)
        yield Roi(
            name=str(item.get("ROIName") or f"ROI {number}").strip(),
            interpreted=interpreted.get(number, ""),
            frame=str(item.get("ReferencedFrameOfReferenceUID") or _frame(header)),
            contours=closed,
            ignored=len(drawn) - len(closed),
        )


def _frame(header: Dataset) -> str:
    """The frame of reference the file as a whole names."""
    referenced = header.get("ReferencedFrameOfReferenceSequence") or ()
    return str((referenced[0] if referenced else header).get("FrameOfReferenceUID") or "")
