"""Scores on repeated scans of a CT phantom at several doses: noise power, transfer, contrast and detectability.

The scans show a uniform disk of 200 mm, of which the pixel size follows. Known disks are added to them: a large one in
the centre for edge and contrast, small ones around it for the observer to detect. They are sharp, and their noise is
that of water. A method restores the images with and without disks. Measured, for each method and dose:

* noise: standard deviation over the realisations, HU, in the central 128 x 128 pixels of the images without disks;
  noise_power, its radial spectrum in HU^2 mm^2, from four squares of 64 pixels there, and noise_frequency, its mean;
* bias: mean - 0 HU in the same place;
* transfer: task transfer function of the large disk, from the mean difference with - without disks; contrast_kept: the
  contrast of that disk / that added;
* cnr: contrast of the large disk / standard deviation of the ring around it, mean over the realisations;
* d_prime and auc of a channelised Hotelling observer (6 Laguerre-Gauss channels) for a small disk in 20 x 20 pixels,
  the template from one half of the realisations tested on the other. Images with and without disk share their noise,
  so d_prime varies less between runs than with independent images.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medley.errors import MedleyError
from medley.metrics.contrast import contrast, contrast_to_noise
from medley.metrics.measures import at
from medley.metrics.observer import detectability, laguerre_gauss
from medley.metrics.spectrum import noise_power
from medley.metrics.transfer import REACH, transfer_function
from medley.runtime.guard import reading
from medley.scoring.methods import Method
from medley.scoring.rows import ScoreRow
from medley.slabs import UNKNOWN, slabs_of
from medley.tasks import task_named

PHANTOM, TASK = "ct-phantom", "ct-denoise"  # the task in score rows, and what the methods are asked for
DIAMETER = 200.0  # mm, of the phantom
EDGE, EDGE_RADIUS = 14.0, 18.0  # HU, pixels: the large disk
SIGNAL, SIGNAL_DIAMETER = 7.0, 5.0  # HU, mm: the small disks
PATCH = 20  # pixels, of the images that the observer sees
HALF = 64  # pixels, half of the side of the central square
FEWEST = 4  # realisations
UNEVEN = 0.03  # of the area of the phantom, the largest difference from a disk
FREQUENCIES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)  # 1/mm


class Phantom(NamedTuple):
    """Realisations of one dose, with known disks.

    Attributes
    ----------
    absent, present: (realisation, row, column) in HU. added: (row, column) in HU, the disks.
    corners: (row, column) of the first pixel of each patch with a small disk in its centre.
    centre: (row, column) of the large disk. pixel: mm.
    """

    absent: np.ndarray
    present: np.ndarray
    added: np.ndarray
    corners: list[tuple[int, int]]
    centre: tuple[float, float]
    pixel: float


def score_phantom(
    methods: Sequence[Method],
    doses: Mapping[int, np.ndarray],
    *,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> list[ScoreRow]:
    """A row for each method and dose.

    Parameters
    ----------
    doses: as `read_phantom` returns them. progress: called with (steps done, number of steps, current step).

    Raises
    ------
    MedleyError: a method does not denoise CT, or its output is not finite; as `add_disks`.
    """
    if other := next((method for method in methods if TASK not in method.tasks), None):
        raise MedleyError(f"{other.name} supports {', '.join(other.tasks)}, but the phantom needs {TASK}")
    made = {dose: add_disks(images) for dose, images in doses.items()}
    rows: list[ScoreRow] = []
    for method in methods:
        for dose, phantom in made.items():
            progress(len(rows), len(methods) * len(made), f"{method.name}: dose {dose} %")
            absent, present = (restored(images, method) for images in (phantom.absent, phantom.present))
            row = ScoreRow(
                method=method.name,
                task=PHANTOM,
                target=f"dose {dose} %",
                subject="phantom",
                record=f"dose {dose:03d}",
                settings=method.settings(TASK),
                values={"strength": dose / 100, "realisations": len(absent)} | measure(phantom, absent, present),
            )
            rows.append(row)
    progress(len(rows), len(rows), "done")
    return rows


def read_phantom(folder: Path) -> dict[int, np.ndarray]:
    """The realisations (realisation, row, column) in HU of each dose in percent, from the lowest.

    They are in files named *doseNNN.npz, NNN percent, with the array `hu`.

    Raises
    ------
    MedleyError: there is no such file, or two of one dose; a file cannot be read, or has other contents.
    """
    files: dict[int, Path] = {}
    for path in sorted(folder.glob("*.npz")):
        if match := re.search(r"dose(\d{1,3})$", path.stem):
            if (dose := int(match[1])) in files:
                raise MedleyError(f"{files[dose]} and {path}: are of the same dose; leave one of them")
            files[dose] = path
    if not files:
        raise MedleyError(f"{folder}: holds no file named *doseNNN.npz, such as water_dose055.npz for a dose of 55 %")
    return {dose: _images(files[dose]) for dose in sorted(files)}


def add_disks(images: np.ndarray, edge: float = EDGE, signal: float = SIGNAL) -> Phantom:
    """Add a large disk of `edge` HU, and small ones of `signal` HU around it, to images (realisation, row, column).

    Raises
    ------
    MedleyError: the images do not show one disk with a radius of at least 92 pixels.
    """
    absent = np.asarray(images, np.float32)
    inside = absent.mean(axis=0) > -500
    radius = float(np.sqrt(inside.sum() / np.pi))
    middle = [float(one.mean()) for one in np.nonzero(inside)] if inside.any() else [0.0, 0.0]
    rows, columns = np.indices(inside.shape)
    other = inside != (np.hypot(rows - middle[0], columns - middle[1]) < radius)
    if radius < np.hypot(HALF, HALF) + 1 or other.sum() > UNEVEN * inside.sum():
        raise MedleyError(
            f"the phantom is not one disk above -500 HU with a radius of at least {np.hypot(HALF, HALF) + 1:.0f} "
            f"pixels: its area is that of a radius of {radius:.0f}, and {other.sum()} pixels differ from such a disk"
        )
    centre = (round(middle[0]) + 0.28, round(middle[1]) - 0.39)  # off the lattice, see `edge_profile`
    pixel = DIAMETER / 2 / radius
    nearest, farthest = EDGE_RADIUS + REACH + PATCH * 0.75, radius - PATCH
    corners = [
        (row, column)
        for row in range(0, inside.shape[0] - PATCH, PATCH)
        for column in range(0, inside.shape[1] - PATCH, PATCH)
        if nearest < np.hypot(row + PATCH / 2 - middle[0], column + PATCH / 2 - middle[1]) < farthest
    ]
    small = signal * disk((PATCH, PATCH), ((PATCH - 1) / 2,) * 2, SIGNAL_DIAMETER / 2 / pixel)
    added = edge * disk((inside.shape[0], inside.shape[1]), centre, EDGE_RADIUS)
    for row, column in corners:
        added[row : row + PATCH, column : column + PATCH] += small
    return Phantom(absent, absent + added.astype(np.float32), added, corners, centre, pixel)


def disk(shape: tuple[int, int], centre: Sequence[float], radius: float, parts: int = 8) -> np.ndarray:
    """The share of each pixel (row, column) that lies in a disk; centre and radius in pixels."""
    rows, columns = ((np.arange(size * parts) + 0.5) / parts - 0.5 for size in shape)
    fine = np.hypot(rows[:, None] - centre[0], columns - centre[1]) < radius
    return fine.reshape(shape[0], parts, shape[1], parts).mean(axis=(1, 3))


def restored(images: np.ndarray, method: Method) -> np.ndarray:
    """Each realisation restored alone, (realisation, row, column): the others are not its neighbouring slices."""
    normalisation = task_named(TASK).normalisation
    slabs = (slabs_of(one[None], [0], method.reach, UNKNOWN) for one in images)
    found = np.concatenate([method.restore(one, TASK, normalisation) for one in slabs])
    if not np.isfinite(found).all():
        raise MedleyError(f"the output of {method.name} for the phantom contains values that are not finite")
    return found


def measure(made: Phantom, absent: np.ndarray, present: np.ndarray) -> dict[str, float]:
    """The measures of the module's docstring, of the restored images without and with disks."""
    middle = np.stack([_square(one, made.centre) for one in absent])
    quarters = [middle[:, row : row + HALF, column : column + HALF] for row in (0, HALF) for column in (0, HALF)]
    spectra = [noise_power(one, (made.pixel,) * 2, repeated=True).radial(16) for one in quarters]
    frequencies, power = (np.mean(one, axis=0) for one in zip(*spectra, strict=True))
    ring = power * frequencies
    response = (present - absent).mean(axis=0)
    rows, columns = np.indices(response.shape)
    distance = np.hypot(rows - made.centre[0], columns - made.centre[1])
    core, around = distance < EDGE_RADIUS - 4, (distance > EDGE_RADIUS + 4) & (distance < EDGE_RADIUS + REACH)
    along, transfer = transfer_function(response, made.added, made.centre, EDGE_RADIUS, made.pixel)
    folds = np.repeat(np.arange(len(absent)) % 2, len(made.corners))
    channels = laguerre_gauss(PATCH, 1.5 * SIGNAL_DIAMETER / made.pixel)
    seen = detectability(_patches(absent, made.corners), _patches(present, made.corners), channels, folds)
    found = {
        "d_prime": seen.d_prime,
        "auc": seen.auc,
        "noise": float(np.sqrt(middle.var(axis=0, ddof=1).mean())),
        "noise_frequency": float((ring * frequencies).sum() / ring.sum()) if ring.any() else float("nan"),
        "bias": float(middle.mean()),
        "contrast_kept": contrast(response, core, around) / contrast(made.added, core, around),
        "cnr": float(np.mean([contrast_to_noise(one, core, around) for one in present])),
        **_at_frequencies("transfer", along, transfer),
        **_at_frequencies("noise_power", frequencies, power),
    }
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _at_frequencies(name: str, frequencies: np.ndarray, values: np.ndarray) -> dict[str, float]:
    return {at(name, f): float(np.interp(f, frequencies, values)) for f in FREQUENCIES if f <= frequencies[-1]}


def _square(image: np.ndarray, middle: Sequence[float]) -> np.ndarray:
    """The square of 2 HALF pixels around the middle (row, column) of an image; smaller at the border."""
    first = [max(round(one) - HALF, 0) for one in middle]
    return image[first[0] : first[0] + 2 * HALF, first[1] : first[1] + 2 * HALF]


def _patches(images: np.ndarray, corners: Sequence[tuple[int, int]]) -> np.ndarray:
    """(realisation, row, column) -> (realisation x patch, row, column)."""
    cut = [images[:, row : row + PATCH, column : column + PATCH] for row, column in corners]
    return np.stack(cut, axis=1).reshape(-1, PATCH, PATCH)


def _images(path: Path) -> np.ndarray:
    with reading(path, "a .npz file with the array hu"), np.load(path, allow_pickle=False) as arrays:
        images = arrays["hu"]
    if images.ndim != 3 or images.dtype.kind not in "iuf" or len(images) < FEWEST:
        raise MedleyError(
            f"{path}: hu has the shape {images.shape} and the type {images.dtype}; expected numbers "
            f"(realisation, row, column), of at least {FEWEST} realisations"
        )
    if not np.isfinite(images).all():
        raise MedleyError(f"{path}: hu has values that are not finite")
    return images
