"""Geometry of contours: which slices a stack of planes covers, polygons to pixels, and pixels to polygons.

Coordinates are counted in voxels from the centre of the first one: slice, row, column.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Planes whose median distance is this many slices or more were drawn on a coarser scan.
COARSE = 1.5
# Contours this close to each other, in slices, lie in one plane; heights are not more exact than this.
SAME_PLANE = 0.02
_Corner = tuple[int, int]
# Pixels are divided into this many parts along each axis to find those that a small polygon touches.
_PARTS = 8


def planes_of(heights: np.ndarray) -> list[list[int]]:
    """Indices of the contours in each plane, from the lowest plane to the highest.

    Parameters
    ----------
    heights: (contour) of each contour, in slices.
    """
    planes: list[list[int]] = []
    order = np.argsort(heights, kind="stable")
    for previous, index in zip([None, *order], order, strict=False):
        if previous is None or heights[index] - heights[previous] > SAME_PLANE:
            planes.append([])
        planes[-1].append(int(index))
    return planes


def spacing_of(planes: np.ndarray) -> float:
    """The median distance between adjacent planes, in slices; 1 for a single plane."""
    return float(np.median(np.diff(planes))) if len(planes) > 1 else 1.0


def slices_of(planes: np.ndarray, count: int, *, upwards: bool = True) -> dict[int, int]:
    """The plane that each slice takes its contours from.

    A plane represents the slab from half way to the plane below it up to half way to the plane above it; where there is
    none (further away than `COARSE`), for half the usual distance of the planes. A slice belongs to the slab that its
    centre is in. So the thickness of a structure is kept to less than one slice, wherever its planes lie between the
    slices: n planes one slice apart cover n slices. A group of planes too thin to reach the centre of a slice takes the
    nearest one.

    Parameters
    ----------
    planes: (plane) heights in slices, ascending.
    count: the number of slices of the scan.
    upwards: whether a slice whose centre is exactly on the border of two slabs belongs to the lower one. It is the
        other way round where the last slab would otherwise lose the slice above the scan.

    Returns
    -------
    {slice: index of the plane}.
    """
    gaps, spacing = np.diff(planes), spacing_of(planes)
    if spacing >= COARSE:  # only two planes: the part between them is unknown
        spacing = 1.0
    joined = gaps <= COARSE * max(spacing, 1.0)
    middle = (planes[1:] + planes[:-1]) / 2
    low, high = planes - spacing / 2, planes + spacing / 2
    low[1:], high[:-1] = np.where(joined, middle, low[1:]), np.where(joined, middle, high[:-1])
    low, high = (np.rint(edge / SAME_PLANE) * SAME_PLANE for edge in (low, high))
    low, high = low.round(6), high.round(6)
    if upwards and high[-1] == count and low[0] > -1:
        upwards = False
    first = (np.floor(low) + 1 if upwards else np.ceil(low)).astype(int)
    last = (np.floor(high) if upwards else np.ceil(high) - 1).astype(int)
    result: dict[int, int] = {}
    for group in np.split(np.arange(len(planes)), np.flatnonzero(~joined) + 1):
        covered = {k: int(p) for p in group for k in range(max(first[p], 0), min(last[p], count - 1) + 1)}
        if not covered:
            k = int(np.clip(np.floor(planes[group].mean() + 0.5), 0, count - 1))
            covered = {k: int(group[np.abs(planes[group] - k).argmin()])}
        for k, p in covered.items():
            result.setdefault(k, p)
    return result


def distinct(contours: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The contours without repetitions: those with the same points, whatever their direction and first point.

    Stored twice, a contour would cancel itself, since it would be the outline of its own hole.
    """
    return list({tuple(sorted(map(tuple, one.round(3).tolist()))): one for one in reversed(contours)}.values())[::-1]


def fill(contours: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie inside an odd number of polygons.

    Of centres exactly on an edge, those on the polygon's side of low rows and columns are inside, so that polygons that
    share an edge share no pixel.

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
        # An edge crosses the rows from its upper end up to but without its lower end; a level one crosses none.
        first = np.ceil(np.minimum(start[:, 0], end[:, 0])).clip(0, rows).astype(int)
        count = np.ceil(np.maximum(start[:, 0], end[:, 0])).clip(0, rows).astype(int) - first
        edge = np.repeat(np.arange(len(points)), count)
        row = np.arange(len(edge)) + (first - (count.cumsum() - count))[edge]
        (y0, x0), (y1, x1) = start[edge].T, end[edge].T
        crossing = x0 + (row - y0) * (x1 - x0) / (y1 - y0)
        np.add.at(flips, (row, np.ceil(crossing.round(6)).clip(0, columns).astype(int)), 1)
    return flips.cumsum(axis=1)[:, :columns] % 2 == 1


def touched(contours: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The pixels of which polygons cover some part, for structures too small to contain the centre of a pixel.

    Parameters and result as for `fill`. Parts smaller than an eighth of a pixel may be missed.
    """
    result = np.zeros(shape, bool)
    everything = np.concatenate(contours)
    low = np.floor(everything.min(axis=0)).astype(int).clip(0, np.array(shape) - 1)
    high = np.ceil(everything.max(axis=0)).astype(int).clip(0, np.array(shape) - 1)
    rows, columns = high - low + 1
    finer = [(one - low + 0.5) * _PARTS - 0.5 for one in contours]
    parts = fill(finer, (rows * _PARTS, columns * _PARTS)).reshape(rows, _PARTS, columns, _PARTS)
    result[low[0] : high[0] + 1, low[1] : high[1] + 1] = parts.any(axis=(1, 3))
    return result


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Polygons around the pixels of a mask; `fill` makes exactly this mask of them.

    Marching squares: the corners of the polygons lie half way between neighbouring pixels of which one is in the mask.
    Pixels that touch at a corner only are separated. A hole has a polygon of its own.

    Parameters
    ----------
    mask: (row, column) bool.

    Returns
    -------
    Each (point, 2): row and column; the mask lies on the same side of all of them.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    # The pixel edges between inside and outside as steps between corners of pixels, the inside on the right-hand side:
    # {corner: [next corners]}. Pixel (i, j) of `padded` has the corners (i, j) to (i + 1, j + 1).
    steps: dict[_Corner, list[_Corner]] = {}
    vertical, horizontal = np.diff(padded, axis=1), np.diff(padded, axis=0)  # 1 where the second of two is inside
    for i, j in np.argwhere(vertical).tolist():
        ends = [(i + 1, j + 1), (i, j + 1)]
        start, end = ends if vertical[i, j] > 0 else ends[::-1]
        steps.setdefault(start, []).append(end)
    for i, j in np.argwhere(horizontal).tolist():
        ends = [(i + 1, j), (i + 1, j + 1)]
        start, end = ends if horizontal[i, j] > 0 else ends[::-1]
        steps.setdefault(start, []).append(end)
    polygons = []
    while steps:
        corners = np.array(_loop(steps), np.float64)
        middles = (corners + np.roll(corners, -1, axis=0)) / 2
        polygons.append(_without_straight(middles - 1.5))  # pixel (0, 0) of the mask is (1, 1) of `padded`
    return polygons


def without_holes(polygons: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The polygons of `outlines` with each hole joined to the polygon around it by a channel of no width (a keyhole).

    DICOM describes holes of CLOSED_PLANAR contours in this way (PS3.3 C.8.8.6.3). `fill` gives the same pixels.
    """
    areas = [_area(one) for one in polygons]
    result = [(area, one) for area, one in zip(areas, polygons, strict=True) if area > 0]
    result.sort(key=lambda pair: pair[0])
    for hole in (one for area, one in zip(areas, polygons, strict=True) if area < 0):
        k = next(k for k, (area, around) in enumerate(result) if area > -_area(hole) and _contains(around, hole[0]))
        area, around = result[k]
        distances = ((around[:, None] - hole[None]) ** 2).sum(axis=-1)
        i, j = np.unravel_index(distances.argmin(), distances.shape)
        channel = [around[: i + 1], hole[j:], hole[: j + 1], around[i:]]
        result[k] = area, np.concatenate(channel)
    return [one for _, one in result]


def _area(points: np.ndarray) -> float:
    """The area of a polygon, positive if its inside is on the right-hand side of its points."""
    row, column = points.T
    return float((column * np.roll(row, -1) - row * np.roll(column, -1)).sum() / 2)


def _contains(polygon: np.ndarray, point: np.ndarray) -> bool:
    start, end = polygon, np.roll(polygon, -1, axis=0)
    start, end = start[crossed := (start[:, 0] > point[0]) != (end[:, 0] > point[0])], end[crossed]
    column = start[:, 1] + (point[0] - start[:, 0]) * (end[:, 1] - start[:, 1]) / (end[:, 0] - start[:, 0])
    return bool(np.count_nonzero(column > point[1]) % 2)


def _loop(steps: dict[_Corner, list[_Corner]]) -> list[_Corner]:
    """Remove one closed path from the steps and return its corners."""
    start = next(iter(steps))
    second = steps[start][0]
    path = [start]
    step = second
    while True:
        here = path[-1]
        steps[here].remove(step)
        if not steps[here]:
            del steps[here]
        path.append(step)
        (row, column), (next_row, next_column) = here, step
        choices = [*steps.get(step, ()), *([second] if step == start else ())]
        # Where two pixels touch at a corner, a turn to the right stays at the same pixel.
        right = (next_row + (next_column - column), next_column - (next_row - row))
        following = right if right in choices else choices[0]
        if step == start and following == second:
            return path[:-1]
        step = following


def _without_straight(points: np.ndarray) -> np.ndarray:
    """The polygon without points in the middle of straight lines."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9
    return points[turns] if turns.sum() >= 3 else points
