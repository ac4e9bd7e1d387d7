"""Physical image quality at three doses: `python -m benchmarks.ct_phantom FOLDER input MODEL ... -o FILE.csv`.

    python -m benchmarks.ct_phantom FOLDER input tat-tiny amir-tiny -o ct-phantom.csv --picture phantom.png

The folder has the files *_dose010.npz, *_dose055.npz and *_dose100.npz with `hu` (realisation, row, column): a uniform
disk of 200 mm, of which the pixel size follows. Known disks are added to the reconstructed images: they are sharp, and
their noise is that of water. One large disk in the centre is the edge and the contrast, small disks around it are the
signal to detect. The model restores the images with and without disks. Measured, for each model and dose:

* noise: standard deviation over the realisations, HU, in the central 128 x 128 pixels of the images without disks;
* noise power: its radial spectrum in HU^2 mm^2, in four regions of 64 x 64 pixels in the same place, and its mean
  frequency in 1/mm;
* bias: mean - 0 HU in the same place;
* transfer: task transfer function of the large disk, from the mean difference with - without disks, and the frequency
  in 1/mm at which it is 0.5; contrast kept: the large disk's contrast / that added;
* CNR: contrast of the large disk / standard deviation of the ring around it, mean over the realisations;
* d' and AUC of a channelised Hotelling observer (6 Laguerre-Gauss channels) for a small disk in 20 x 20 pixels, the
  template from one half of the realisations tested on the other. Both classes share their noise, so d' varies less
  between runs than with independent images.

The model `input` is the unchanged image.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.quality.checks import Case
from benchmarks.quality.rows import Row, show, summary, write
from benchmarks.restoration_quality import names
from medley.errors import MedleyError
from medley.inference.loading import load_restorer
from medley.metrics.contrast import contrast, contrast_to_noise
from medley.metrics.observer import detectability, laguerre_gauss
from medley.metrics.spectrum import noise_power
from medley.metrics.transfer import REACH, frequency_at, transfer_function
from medley.scoring.methods import Input, Method, Network
from medley.tasks import task_named

TASK = task_named("ct-denoise")
DOSES = (10, 55, 100)  # percent
DIAMETER = 200.0  # mm, of the phantom
PATCH = 20  # pixels, of the images that the observer sees
EDGE = 18.0  # pixels, radius of the large disk
SHOWN = (-100.0, 100.0)  # HU, the window of the picture


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


def disk(shape: tuple[int, int], centre: Sequence[float], radius: float, parts: int = 8) -> np.ndarray:
    """The share of each pixel (row, column) that lies in a disk; centre and radius in pixels."""
    rows, columns = ((np.arange(size * parts) + 0.5) / parts - 0.5 for size in shape)
    fine = np.hypot(rows[:, None] - centre[0], columns - centre[1]) < radius
    return fine.reshape(shape[0], parts, shape[1], parts).mean(axis=(1, 3))


def phantom(images: np.ndarray, edge: float, signal: float, diameter: float) -> Phantom:
    """Add a large disk of `edge` HU, and small ones of `signal` HU and `diameter` mm around it."""
    absent = np.asarray(images, np.float32)
    inside = absent.mean(axis=0) > -500
    radius = float(np.sqrt(inside.sum() / np.pi))
    middle = [float(one.mean()) for one in np.nonzero(inside)]
    centre = (round(middle[0]) + 0.28, round(middle[1]) - 0.39)  # off the lattice, see `edge_profile`
    pixel = DIAMETER / 2 / radius
    nearest, farthest = EDGE + REACH + PATCH * 0.75, radius - PATCH
    corners = [
        (row, column)
        for row in range(0, inside.shape[0] - PATCH, PATCH)
        for column in range(0, inside.shape[1] - PATCH, PATCH)
        if nearest < np.hypot(row + PATCH / 2 - middle[0], column + PATCH / 2 - middle[1]) < farthest
    ]
    small = signal * disk((PATCH, PATCH), ((PATCH - 1) / 2,) * 2, diameter / 2 / pixel)
    added = edge * disk(inside.shape, centre, EDGE)
    for row, column in corners:
        added[row : row + PATCH, column : column + PATCH] += small
    return Phantom(absent, absent + added.astype(np.float32), added, corners, centre, pixel)


def restored(images: np.ndarray, method: Method) -> np.ndarray:
    """Each realisation alone: neighbours of a stack are not neighbouring slices here."""
    return np.concatenate([
        Case("", TASK.name, one[None], one[None], TASK.normalisation).restored(method) for one in images
    ])  # fmt: skip


def measure(
    made: Phantom, absent: np.ndarray, present: np.ndarray, model: str, dose: int, diameter: float
) -> list[Row]:
    """The rows of one model and dose; `absent` and `present` are restored."""
    found: list[tuple[str, float, str]] = []
    middle = absent[:, 64:192, 64:192]
    found.append(("noise", float(np.sqrt(middle.var(axis=0, ddof=1).mean())), "HU"))
    found.append(("bias", float(middle.mean()), "HU"))
    quarters = [middle[:, row : row + 64, column : column + 64] for row in (0, 64) for column in (0, 64)]
    curves = [noise_power(one, (made.pixel,) * 2, repeated=True).radial(16) for one in quarters]
    frequencies, power = (np.mean(one, axis=0) for one in zip(*curves, strict=True))
    ring = power * frequencies
    found.append(("noise power, mean frequency", float((ring * frequencies).sum() / ring.sum()), "1/mm"))
    found += [(f"noise power at {f:.3f}/mm", float(p), "HU^2 mm^2") for f, p in zip(frequencies, power, strict=True)]

    response = (present - absent).mean(axis=0)
    rows, columns = np.indices(response.shape)
    distance = np.hypot(rows - made.centre[0], columns - made.centre[1])
    core, around = distance < EDGE - 4, (distance > EDGE + 4) & (distance < EDGE + REACH)
    kept = contrast(response, core, around) / contrast(made.added, core, around)
    found.append(("contrast kept", kept, "ratio"))
    along, transfer = transfer_function(response, made.added, made.centre, EDGE, made.pixel)
    found.append(("transfer 0.5 at", frequency_at(along, transfer), "1/mm"))
    found += [(f"transfer at {f:.1f}/mm", float(np.interp(f, along, transfer)), "ratio") for f in (0.1, 0.2, 0.3, 0.4)]
    found.append(("CNR", float(np.mean([contrast_to_noise(one, core, around) for one in present])), "ratio"))

    folds = np.repeat(np.arange(len(absent)) % 2, len(made.corners))
    channels = laguerre_gauss(PATCH, 1.5 * diameter / made.pixel)
    seen = detectability(patches(absent, made.corners), patches(present, made.corners), channels, folds)
    found += [("d'", seen.d_prime, "ratio"), ("AUC", seen.auc, "ratio")]
    return [Row(model, f"{check}, dose {dose} %", f"dose {dose:03d}", value, unit) for check, value, unit in found]


def patches(images: np.ndarray, corners: Sequence[tuple[int, int]]) -> np.ndarray:
    """(realisation, row, column) -> (realisation x patch, row, column)."""
    cut = [images[:, row : row + PATCH, column : column + PATCH] for row, column in corners]
    return np.stack(cut, axis=1).reshape(-1, PATCH, PATCH)


def read(folder: Path, dose: int) -> np.ndarray:
    """The realisations (realisation, row, column) of a dose in percent, in HU."""
    found = sorted(folder.glob(f"*dose{dose:03d}.npz"))
    if len(found) != 1:
        raise MedleyError(f"{folder}: {len(found)} files named *dose{dose:03d}.npz; exactly one is needed")
    with np.load(found[0], allow_pickle=False) as arrays:
        return np.asarray(arrays["hu"])


def draw(images: dict[tuple[str, int], np.ndarray], models: Sequence[str], path: Path) -> None:
    """One realisation with disks, a row for each dose, a column for each model."""
    side, head = next(iter(images.values())).shape[0], 18
    page = Image.new("L", (len(models) * side, len(DOSES) * (side + head)), 255)
    pen = ImageDraw.Draw(page)
    for (model, dose), one in images.items():
        x, y = models.index(model) * side, DOSES.index(dose) * (side + head)
        grey = np.clip((one - SHOWN[0]) / (SHOWN[1] - SHOWN[0]), 0, 1) * 255
        page.paste(Image.fromarray(grey.astype(np.uint8)), (x, y + head))
        pen.text((x + 4, y + 3), f"{model}, dose {dose} %", fill=0)
    page.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.ct_phantom", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="packaged names, weights files, or input")
    parser.add_argument("--edge", type=float, default=14.0, help="HU of the large disk (default 14)")
    parser.add_argument("--signal", type=float, default=7.0, help="HU of the small disks (default 7)")
    parser.add_argument("--diameter", type=float, default=5.0, help="mm, of the small disks (default 5)")
    parser.add_argument("--realisations", type=int, metavar="N", help="only the first N of each dose; 4 or more")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.csv")
    parser.add_argument("--picture", type=Path, metavar="FILE.png")
    options = parser.parse_args()
    labels = names(options.models)
    rows, shown = [], {}
    for label, model in zip(labels, options.models, strict=True):
        method: Method = Input() if model == Input.name else Network(load_restorer(model))
        for dose in DOSES:
            print(f"{label}: dose {dose} %", flush=True)
            images = read(options.folder, dose)[: options.realisations]
            made = phantom(images, options.edge, options.signal, options.diameter)
            absent, present = restored(made.absent, method), restored(made.present, method)
            rows += measure(made, absent, present, label, dose, options.diameter)
            shown[label, dose] = present[0]
    write(rows, options.output)
    show(summary([row for row in rows if not row.check.startswith("noise power at")]))
    if options.picture:
        draw(shown, labels, options.picture)


if __name__ == "__main__":
    main()
